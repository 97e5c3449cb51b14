//! What probes predict: a class with the probability of every class, or a number.

use super::temperature;

/// A prediction: a class with its probability, or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// The class; 0 for regression.
    pub class: u32,
    /// The class's probability, or the number.
    pub value: f32,
}

/// The predictions for some examples, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Predictions {
    /// The prediction of each example.
    pub of: Vec<Predicted>,
    /// Logarithms of probabilities but for a number that an example's classes share, (examples, classes). Empty for
    /// regression and where only the classes were wanted.
    pub logits: Vec<f32>,
    /// Number of classes that have probabilities; 0 for regression.
    pub classes: usize,
}

impl Predictions {
    /// Predictions of `examples` examples that are yet to be filled in.
    pub fn blank(examples: usize, classes: usize, with_logits: bool) -> Self {
        let logits = if with_logits { vec![0.0; examples * classes] } else { Vec::new() };
        Self { of: vec![Predicted { class: 0, value: 0.0 }; examples], logits, classes }
    }

    /// One prediction for all of `examples` examples.
    pub fn constant(predicted: Predicted, logits: &[f32], examples: usize) -> Self {
        Self { of: vec![predicted; examples], logits: logits.repeat(examples), classes: logits.len() }
    }

    /// The predictions that scores, (examples, outputs), make for so many classes.
    pub fn of_scores(scores: &[f32], classes: usize, with_logits: bool) -> Self {
        let of: Vec<Predicted> = scores.chunks_exact(outputs(classes)).map(|scores| predict(scores, classes)).collect();
        let logits = match classes {
            0 => Vec::new(),
            _ if !with_logits => Vec::new(),
            2 => scores.iter().flat_map(|&score| [0.0, score]).collect(),
            _ => scores.to_vec(),
        };
        Self { of, logits, classes }
    }

    /// Number of examples.
    pub fn count(&self) -> usize {
        self.of.len()
    }

    /// These predictions and then others.
    pub fn extend(&mut self, others: &Self) {
        self.classes = others.classes;
        self.of.extend_from_slice(&others.of);
        self.logits.extend_from_slice(&others.logits);
    }

    /// The predictions of some examples, in their order.
    #[must_use]
    pub fn select(&self, examples: &[u32]) -> Self {
        let of = examples.iter().map(|&example| self.of[example as usize]).collect();
        let logits = |&example: &u32| &self.logits[example as usize * self.classes..][..self.classes];
        let logits =
            if self.logits.is_empty() { Vec::new() } else { examples.iter().flat_map(logits).copied().collect() };
        Self { of, logits, classes: self.classes }
    }

    /// Puts predictions at their places: the i-th of `others` is for example `places[i]`.
    pub fn put(&mut self, places: &[u32], others: &Self) {
        for (index, &place) in places.iter().enumerate() {
            let place = place as usize;
            self.of[place] = others.of[index];
            if !self.logits.is_empty() && !others.logits.is_empty() {
                let classes = self.classes;
                self.logits[place * classes..][..classes].copy_from_slice(&others.logits[index * classes..][..classes]);
            }
        }
    }

    /// Divides logits by a temperature. No class changes, only how sure it is.
    pub fn cool(&mut self, temperature: f64) {
        self.logits.iter_mut().for_each(|logit| *logit = (f64::from(*logit) / temperature) as f32);
        let classes = self.classes.max(1);
        for (of, logits) in self.of.iter_mut().zip(self.logits.chunks_exact(classes)) {
            of.value = softmax(logits)[of.class as usize];
        }
    }

    /// The probability of each class, (examples, classes).
    pub fn probabilities(&self) -> Vec<f32> {
        self.logits.chunks_exact(self.classes.max(1)).flat_map(softmax).collect()
    }

    /// The expected calibration error against the labels.
    pub fn calibration_error(&self, gold: &[u32]) -> f64 {
        let sure = self.of.iter().zip(gold).map(|(of, &gold)| (of.value, of.class == gold, 1.0));
        temperature::expected_calibration_error(sure)
    }

    /// The temperature at which these predictions fit the labels best.
    pub fn temperature(&self, gold: &[u32]) -> f64 {
        temperature::best(&self.logits, self.classes, gold)
    }
}

/// Number of outputs for a number of classes: one for two classes, and for regression.
pub fn outputs(classes: usize) -> usize {
    if classes > 2 { classes } else { 1 }
}

/// The probabilities of classes by their logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    if let [first, second] = *logits {
        return vec![logistic(first - second), logistic(second - first)];
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// The logistic function of a score: the probability of the second of two classes.
pub fn logistic(score: f32) -> f32 {
    if score >= 0.0 {
        1.0 / (1.0 + (-score).exp())
    } else {
        let odds = score.exp();
        odds / (1.0 + odds)
    }
}

/// The prediction that scores, (outputs), make.
fn predict(scores: &[f32], classes: usize) -> Predicted {
    match classes {
        0 => Predicted { class: 0, value: scores[0] },
        2 => {
            let probabilities = softmax(&[0.0, scores[0]]);
            let class = usize::from(scores[0] > 0.0);
            Predicted { class: class as u32, value: probabilities[class] }
        }
        _ => {
            let class = scores
                .iter()
                .enumerate()
                .fold(0, |best, (class, &score)| if score > scores[best] { class } else { best });
            let sum: f32 = scores.iter().map(|score| (score - scores[class]).exp()).sum();
            Predicted { class: class as u32, value: 1.0 / sum }
        }
    }
}
