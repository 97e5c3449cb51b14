//! A warning for texts that a model's vocabulary hardly covers, with a guess at the cause.

use super::Tokenizer;

/// Number of pieces of text that are examined.
pub const LOOKED_AT: usize = 50;
/// Number of pieces that the warning names.
const NAMED: usize = 3;
/// Number of characters that it shows of a piece.
const SHOWN: usize = 24;

/// The first few pieces of text that became unknown tokens.
#[derive(Debug, Default)]
pub struct UnknownPieces(Vec<String>);

impl UnknownPieces {
    /// Adds pieces until there are [`LOOKED_AT`].
    pub fn extend(&mut self, pieces: impl Iterator<Item = String>) {
        let room = LOOKED_AT.saturating_sub(self.0.len());
        self.0.extend(pieces.take(room));
    }

    /// Whether there are [`LOOKED_AT`] pieces.
    pub fn is_full(&self) -> bool {
        self.0.len() >= LOOKED_AT
    }

    /// The warning, if more than a tenth of `tokens` tokens are unknown.
    pub fn warning(&self, unknown: u64, tokens: u64, tokenizer: &Tokenizer) -> Option<String> {
        if unknown.saturating_mul(10) <= tokens {
            return None;
        }
        let mut named: Vec<String> = Vec::new();
        for piece in &self.0 {
            let shown: String = piece.chars().take(SHOWN).collect();
            let shown = if shown.len() < piece.len() { format!("`{shown}…`") } else { format!("`{shown}`") };
            if !named.contains(&shown) && named.len() < NAMED {
                named.push(shown);
            }
        }
        let such_as = if named.is_empty() { String::new() } else { format!(", such as {}", named.join(", ")) };
        let cause = self.cause(tokenizer);
        Some(format!(
            "{unknown} of {tokens} tokens ({} %) are {}, which stands for what the model's vocabulary does not have{such_as}: {cause}",
            unknown * 100 / tokens.max(1),
            tokenizer.unk_token().unwrap_or("unknown"),
        ))
    }

    /// The likely cause: what would make most of the pieces known.
    fn cause(&self, tokenizer: &Tokenizer) -> &'static str {
        let most_are = |holds: &dyn Fn(&String) -> bool| {
            !self.0.is_empty() && self.0.iter().filter(|piece| holds(piece)).count() * 2 > self.0.len()
        };
        let is_known_as = |piece: &String, other: String| other != *piece && tokenizer.knows(&other);
        let spaced = |piece: &String| piece.chars().flat_map(|letter| [letter, ' ']).collect::<String>();
        if most_are(&|piece| is_known_as(piece, piece.to_lowercase())) {
            "the vocabulary is of lower case, and the tokenizer keeps upper case; is do_lower_case of tokenizer_config.json right?"
        } else if most_are(&|piece| is_known_as(piece, piece.to_uppercase())) {
            "the vocabulary is of upper case; give the texts in upper case, or see do_lower_case of tokenizer_config.json"
        } else if most_are(&|piece| {
            piece.chars().count() > 1 && is_known_as(piece, spaced(piece).trim_end().to_owned())
        }) {
            "the vocabulary is of single letters, as for proteins: put a space between two letters"
        } else if most_are(&|piece| is_known_as(piece, spaced(&piece.to_uppercase()).trim_end().to_owned())) {
            "the vocabulary is of single upper case letters, as for proteins: put a space between two letters"
        } else if most_are(&|piece| piece.chars().count() > 100) {
            "words of more than 100 characters are unknown as a whole; are there spaces missing?"
        } else {
            "the texts seem to be in a language or a script that the model was not made for"
        }
    }
}
