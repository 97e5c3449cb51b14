//! Sets of layers: the vectors of several layers side by side, as one probe sees them.

use std::fmt;
use std::str::FromStr;

use crate::plan::{ArrayPlan, Slot};
use crate::spec::LayerSelection;

/// What a probe is fitted on: an array, or the arrays of several layers side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSet(Vec<ArrayPlan>);

impl LayerSet {
    /// A set of one array.
    pub fn one(array: ArrayPlan) -> Self {
        Self(vec![array])
    }

    /// The arrays of several layers; those of the lower ones come first.
    pub fn of(mut arrays: Vec<ArrayPlan>) -> Self {
        arrays.sort_by_key(layer_of);
        arrays.dedup();
        Self(arrays)
    }

    /// This set with one more layer.
    #[must_use]
    pub fn with(&self, array: ArrayPlan) -> Self {
        Self::of([&self.0[..], &[array]].concat())
    }

    /// Its arrays.
    pub fn arrays(&self) -> &[ArrayPlan] {
        &self.0
    }

    /// Its name in reports: `layer_03`, `concat`, `layer_03+layer_04`.
    pub fn name(&self) -> String {
        self.0.iter().map(ArrayPlan::name).collect::<Vec<_>>().join("+")
    }

    /// The number of the layer, if it is one.
    pub fn layer(&self) -> Option<usize> {
        if let [array] = &self.0[..] { layer_of(array) } else { None }
    }

    /// The numbers of the layers, if they are several.
    pub fn layers(&self) -> Option<Vec<usize>> {
        if self.0.len() < 2 { None } else { self.0.iter().map(layer_of).collect() }
    }
}

fn layer_of(array: &ArrayPlan) -> Option<usize> {
    if let Slot::Layer(layer) = array.slot { Some(layer) } else { None }
}

/// Layers to probe as the user wrote them: single ones as [`LayerSelection`] has them, and sets such as `3+4`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbedLayers {
    /// Layers that are probed one by one.
    pub single: Option<LayerSelection>,
    /// Layers that are probed together.
    pub sets: Vec<LayerSelection>,
}

impl FromStr for ProbedLayers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sets, single): (Vec<&str>, Vec<&str>) = text.split(',').partition(|part| part.contains('+'));
        let set = |part: &str| -> Result<LayerSelection, String> {
            if part.contains("..") {
                return Err(format!("`{part}` is not a set of layers: expected numbers, such as `3+4` or `-2+-1`"));
            }
            part.replace('+', ",").parse()
        };
        let sets = sets.into_iter().map(set).collect::<Result<_, _>>()?;
        let single = if single.is_empty() { None } else { Some(single.join(",").parse()?) };
        Ok(Self { single, sets })
    }
}

impl From<LayerSelection> for ProbedLayers {
    fn from(single: LayerSelection) -> Self {
        Self { single: Some(single), sets: Vec::new() }
    }
}

impl fmt::Display for ProbedLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.sets.iter().map(|set| set.to_string().replace(',', "+"));
        let all: Vec<String> = self.single.iter().map(ToString::to_string).chain(sets).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_stand_beside_single_layers() {
        let of = |text: &str| text.parse::<ProbedLayers>();
        let probed = of("3+4,0..2,-1+0").unwrap();
        assert_eq!(probed.single.as_ref().map(ToString::to_string).as_deref(), Some("0..2"));
        assert_eq!(probed.sets.iter().map(|set| set.resolve(4).unwrap()).collect::<Vec<_>>(), [vec![3, 4], vec![0, 4]]);
        assert_eq!(probed.to_string(), "0..2,3+4,-1+0");
        assert_eq!(of("all").unwrap(), LayerSelection::all().into());
        assert_eq!(of("1+2").unwrap().single, None);
        for wrong in ["1+", "+", "1..2+3", "a+1", ""] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
