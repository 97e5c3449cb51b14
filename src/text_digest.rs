//! A digest of a tokenized text: of all that its vectors follow from, beside the model and the plan.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::batch::Tokens;
use crate::sha256::hex;

/// The first 128 bits of a sha256. Among 10⁹ texts, two different ones are taken for the same with a probability of 10⁻²¹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TextDigest([u8; 16]);

impl TextDigest {
    /// The digest of token ids, token types, words, spans, and what is cut into windows.
    pub(crate) fn of(text: &Tokens) -> Self {
        let mut digest = Sha256::new();
        let bounds = [text.len() as u64, u64::from(text.word_count), text.longer.start as u64, text.longer.end as u64];
        digest.update(bytemuck::cast_slice(&bounds));
        for numbers in [&text.input_ids, &text.token_type_ids, &text.words] {
            digest.update(bytemuck::cast_slice(numbers));
        }
        let spans: Vec<u32> = text.spans.iter().flat_map(|span| [span.start, span.end]).collect();
        digest.update(bytemuck::cast_slice(&spans));
        let whole: [u8; 32] = digest.finalize().into();
        let mut first = [0; 16];
        first.copy_from_slice(&whole[..16]);
        Self(first)
    }
}

impl fmt::Display for TextDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Serialize for TextDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TextDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = Some(text.as_str()).filter(|text| text.len() == 32);
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        let number = number.filter(|_| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| D::Error::custom(format!("digest is {text:?}; expected 32 hexadecimal digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_text_is_in_its_digest() {
        let text = Tokens {
            input_ids: vec![1, 2, 3],
            token_type_ids: vec![0; 3],
            words: vec![0, 0, 1],
            word_count: 2,
            longer: 0..3,
            spans: vec![0..1],
        };
        let others = [
            text.clone(),
            Tokens { input_ids: vec![1, 2, 4], ..text.clone() },
            Tokens { token_type_ids: vec![0, 0, 1], ..text.clone() },
            Tokens { words: vec![0, 1, 1], ..text.clone() },
            Tokens { word_count: 3, ..text.clone() },
            Tokens { longer: 0..2, ..text.clone() },
            Tokens { spans: vec![0..2], ..text.clone() },
            Tokens { spans: vec![0..1, 0..1], ..text.clone() },
            Tokens { spans: Vec::new(), ..text.clone() },
            Tokens::default(),
        ];
        let digests = others.iter().map(TextDigest::of).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(digests.len(), others.len());
        let written = serde_json::to_string(&TextDigest::of(&text)).unwrap();
        assert_eq!(written.len(), 34);
        assert_eq!(serde_json::from_str::<TextDigest>(&written).unwrap(), TextDigest::of(&text));
        for damaged in ["\"\"", "\"00\"", "1", &written.replace('"', "").replace('a', "g")] {
            assert!(serde_json::from_str::<TextDigest>(damaged).is_err(), "{damaged}");
        }
    }
}
