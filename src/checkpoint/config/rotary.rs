//! The rotary positions and windows of each layer.

use serde_json::Value;

use super::keys::{Keys, LARGEST};
use crate::error::Result;
use crate::family::{Family, RotaryPairs, RotaryRule};

/// What layers differ in beside their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerConfig {
    /// Rotary positions of queries and keys.
    pub rotary: Option<Rotary>,
    /// The largest distance between tokens that attend to each other.
    pub window: Option<usize>,
}

/// Rotary positions: pair i of a head's numbers is rotated by position · base^(-2i / head_dim) / factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// The base (`rope_theta`).
    pub theta: f64,
    /// What all frequencies are divided by.
    pub factor: f64,
    /// Which numbers are rotated together.
    pub pairs: RotaryPairs,
}

impl Rotary {
    /// The frequencies, (head_dim / 2): by the float32 steps in which PyTorch computes them, where the exponent, the power, its
    /// reciprocal and the quotient are rounded once each; those of RoFormer, whose table NumPy makes, in float64.
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f64> {
        let in_float32 = |i: usize| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            let power = libm::pow(self.theta, f64::from(exponent)) as f32;
            f64::from(1.0 / power / self.factor as f32)
        };
        let in_float64 = |i: usize| 1.0 / libm::pow(self.theta, (2 * i) as f64 / head_dim as f64) / self.factor;
        match self.pairs {
            RotaryPairs::Halves => (0..head_dim / 2).map(in_float32).collect(),
            RotaryPairs::Neighbours => (0..head_dim / 2).map(in_float64).collect(),
        }
    }
}

/// The positions and the window of each layer.
pub(super) fn layers(
    keys: &Keys<'_>,
    family: &Family,
    num_hidden_layers: usize,
    head_dim: usize,
) -> Result<Vec<LayerConfig>> {
    let layers = match family.rotary {
        RotaryRule::None => vec![LayerConfig { rotary: None, window: None }; num_hidden_layers],
        RotaryRule::WhereAsked { .. } if keys.text("position_embedding_type")? != Some("rotary") => {
            vec![LayerConfig { rotary: None, window: None }; num_hidden_layers]
        }
        RotaryRule::WhereAsked { keys: names, default } => {
            let rotary = of_all_layers(keys, names, default, RotaryPairs::Halves, head_dim)?;
            vec![LayerConfig { rotary: Some(rotary), window: None }; num_hidden_layers]
        }
        RotaryRule::Always { keys: names, default, pairs } => {
            let rotary = of_all_layers(keys, names, default, pairs, head_dim)?;
            vec![LayerConfig { rotary: Some(rotary), window: None }; num_hidden_layers]
        }
        RotaryRule::ByLayerType => by_layer_type(keys, num_hidden_layers)?,
    };
    if !head_dim.is_multiple_of(2) && layers.iter().any(|layer| layer.rotary.is_some()) {
        let problem = format!("makes heads of {head_dim} numbers, an odd number, which cannot be rotated in pairs");
        return Err(keys.problem("num_attention_heads", problem));
    }
    Ok(layers)
}

fn of_all_layers(keys: &Keys<'_>, names: &[&str], default: f64, pairs: RotaryPairs, head_dim: usize) -> Result<Rotary> {
    let theta = match keys.number_from_0(names)? {
        Some(theta) => theta,
        None => default,
    };
    if let Some(parameters) = keys.get("rope_parameters") {
        return of_parameters(keys, "rope_parameters", parameters, theta, pairs);
    }
    let Some(scaling) = keys.get("rope_scaling") else { return Ok(Rotary { theta, factor: 1.0, pairs }) };
    // The scaling of GTE's own code holds for texts of all lengths: a larger base, and all frequencies divided so that the
    // lowest one is `factor` times lower.
    if kind_of(scaling) == Some("ntk") {
        let factor = factor_of(keys, "rope_scaling", scaling)?;
        if let Some(mixed) = scaling.get("mixed_b").filter(|mixed| !mixed.is_null()) {
            return Err(keys.problem("rope_scaling", format!("has mixed_b {mixed}, which is not supported")));
        }
        return Ok(Rotary { theta: theta * factor, factor: libm::pow(factor, 2.0 / head_dim as f64), pairs });
    }
    of_parameters(keys, "rope_scaling", scaling, theta, pairs)
}

fn kind_of(parameters: &Value) -> Option<&str> {
    parameters.get("rope_type").or_else(|| parameters.get("type")).and_then(Value::as_str)
}

fn factor_of(keys: &Keys<'_>, key: &str, parameters: &Value) -> Result<f64> {
    let factor = parameters.get("factor");
    factor.and_then(Value::as_f64).filter(|factor| factor.is_finite() && *factor > 0.0).ok_or_else(|| {
        keys.problem(key, format!("expected a factor above 0, found {}", factor.unwrap_or(&Value::Null)))
    })
}

/// `rope_parameters` of transformers 5: an object with `rope_theta` and `rope_type`.
fn of_parameters(keys: &Keys<'_>, key: &str, parameters: &Value, theta: f64, pairs: RotaryPairs) -> Result<Rotary> {
    let theta = match parameters.get("rope_theta").filter(|theta| !theta.is_null()) {
        None => theta,
        Some(value) => value
            .as_f64()
            .filter(|theta| theta.is_finite() && *theta > 0.0)
            .ok_or_else(|| keys.problem(key, format!("expected a rope_theta above 0, found {value}")))?,
    };
    if let Some(part) = parameters.get("partial_rotary_factor").filter(|part| part.as_f64() != Some(1.0)) {
        return Err(keys.problem(key, format!("has partial_rotary_factor {part}, which is not supported")));
    }
    let factor = match kind_of(parameters).unwrap_or("default") {
        "default" => 1.0,
        "linear" => factor_of(keys, key, parameters)?,
        other => {
            let problem = format!("has the type `{other}`, which is not supported; expected default or linear");
            return Err(keys.problem(key, problem));
        }
    };
    Ok(Rotary { theta, factor, pairs })
}

/// ModernBERT's layers: every third one attends to the whole text, the others to `local_attention` tokens.
fn by_layer_type(keys: &Keys<'_>, num_hidden_layers: usize) -> Result<Vec<LayerConfig>> {
    let every = keys.optional_size(&["global_attn_every_n_layers"], LARGEST)?.unwrap_or(3);
    let is_global: Vec<bool> = match keys.get("layer_types") {
        None => (0..num_hidden_layers).map(|layer| layer.is_multiple_of(every)).collect(),
        Some(_) => keys
            .names("layer_types", ',')?
            .iter()
            .map(|kind| match kind.as_str() {
                "full_attention" => Ok(true),
                "sliding_attention" => Ok(false),
                other => {
                    let problem = format!("`{other}` is not supported; expected full_attention or sliding_attention");
                    Err(keys.problem("layer_types", problem))
                }
            })
            .collect::<Result<_>>()?,
    };
    if is_global.len() != num_hidden_layers {
        let problem = format!("has {} layers, but num_hidden_layers is {num_hidden_layers}", is_global.len());
        return Err(keys.problem("layer_types", problem));
    }
    let rotary = |kind: &str, key: &'static str, default: f64| -> Result<Rotary> {
        let theta = keys.number_from_0(&[key])?.unwrap_or(default);
        let parameters = keys.get("rope_parameters").and_then(|parameters| parameters.get(kind));
        match parameters.or_else(|| keys.get("rope_scaling")).filter(|parameters| !parameters.is_null()) {
            None => Ok(Rotary { theta, factor: 1.0, pairs: RotaryPairs::Halves }),
            Some(parameters) => of_parameters(keys, "rope_parameters", parameters, theta, RotaryPairs::Halves),
        }
    };
    let global = rotary("full_attention", "global_rope_theta", 160_000.0)?;
    let local = rotary("sliding_attention", "local_rope_theta", 10_000.0)?;
    let window = keys.optional_size(&["local_attention"], LARGEST)?.unwrap_or(128) / 2;
    Ok(is_global
        .into_iter()
        .map(|is_global| match is_global {
            true => LayerConfig { rotary: Some(global), window: None },
            false => LayerConfig { rotary: Some(local), window: Some(window) },
        })
        .collect())
}
