//! Long texts tokenized piece by piece.
//!
//! The tokenizers library holds a few hundred bytes for each token while it tokenizes a text, a gigabyte for a line of
//! 4 MiB that is one token a character. So long texts are split where the outcome cannot depend on what is on the other side,
//! and of what lies beyond a cut the tokens are counted and not kept.
//!
//! That holds for BERT's own tokenizers: their normalizer looks at one character at a time, but for marks, which follow
//! theirs; their pre-tokenizer removes white space and takes each punctuation character apart; and WordPiece sees one word
//! at a time and gives each at least one token. What could reach over a split is an added token such as `[MASK]`: one that has
//! both characters around the split in it, one after the other, or one that ends or begins right there and takes the space
//! behind it or looks at what stands before it. Between a character and a space neither is possible where the character ends
//! no added token, none has this character before a space, and none begins with a space. (A token that takes the space before
//! it begins behind that space, and its space is on its side of the split.) Everywhere else none of the characters around a
//! split occurs in any added token.

use std::collections::HashSet;
use std::ops::Range;

use tokenizers::{AddedVocabulary, Encoding, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Bytes of a text that is tokenized in pieces; shorter ones are tokenized whole.
pub(super) const LONG: usize = 1 << 17;
/// Bytes of a piece; few enough that its tokens stay in the cache.
const PIECE: usize = 1 << 15;

/// Where texts of a tokenizer can be split.
pub(super) struct SafeSplits {
    /// The characters of added tokens, in both cases.
    of_added_tokens: HashSet<char>,
    /// Those that end one or have a space behind them in one, in both cases.
    before_a_space: HashSet<char>,
    /// Whether an added token begins with a space.
    any_begins_with_space: bool,
    /// Whether the normalizer makes a word of each Chinese character.
    chinese: bool,
    /// Bytes of a piece, up to the next place where a text can be split.
    piece: usize,
}

/// What a text's pieces come to.
pub(super) struct JoinedPieces {
    /// The tokens that are kept, of whole pieces.
    pub(super) encoding: Encoding,
    /// Number of tokens that are not.
    pub(super) tokens_beyond: usize,
    /// Number of their words.
    pub(super) words_beyond: u32,
}

impl SafeSplits {
    /// `None` for a tokenizer of which it is not certain that pieces come to the same as the whole.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let chinese = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::BertNormalizer(normalizer)) => normalizer.handle_chinese_chars,
            Some(_) => return None,
        };
        let is_bert = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
            && matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_));
        let added: &AddedVocabulary = tokenizer.get_added_vocabulary();
        let of_added_tokens: String = added.get_added_tokens_decoder().values().map(|token| &*token.content).collect();
        // Accents may be taken off, and then another character stands in the text than in the token.
        if !is_bert || !of_added_tokens.is_ascii() {
            return None;
        }
        let both_cases = |character: char| [character.to_ascii_lowercase(), character.to_ascii_uppercase()];
        let (mut before_a_space, mut any_begins_with_space) = (HashSet::new(), false);
        for token in added.get_added_tokens_decoder().values() {
            // The normalizer takes control characters away and makes spaces of others, so any character may be the last.
            let is_odd = token.content.contains(|character: char| character.is_ascii_control());
            let mut characters = token.content.chars().peekable();
            while let Some(character) = characters.next() {
                if is_odd || characters.peek().is_none_or(|next| *next == ' ') {
                    before_a_space.extend(both_cases(character));
                }
            }
            any_begins_with_space |=
                token.content.starts_with(' ') || is_odd && token.content.contains(|c: char| c.is_ascii_whitespace());
        }
        let of_added_tokens = of_added_tokens.chars().flat_map(both_cases).collect();
        Some(Self { of_added_tokens, before_a_space, any_begins_with_space, chinese, piece: PIECE })
    }

    /// Whether a text can be split between two characters.
    fn is_between(&self, before: char, after: char) -> bool {
        let stands_alone = |character: char| character.is_ascii_punctuation() || self.chinese && is_chinese(character);
        match after {
            // The normalizer puts a space behind a Chinese character, which an added token may take together with this one.
            ' ' => {
                (before.is_ascii_graphic() || !self.chinese && is_chinese(before))
                    && !self.any_begins_with_space
                    && !self.before_a_space.contains(&before)
            }
            _ => {
                stands_alone(before)
                    && stands_alone(after)
                    && ![before, after].iter().any(|character| self.of_added_tokens.contains(character))
            }
        }
    }

    /// The pieces of a text, in order and without a gap.
    fn pieces(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start == text.len() {
                return None;
            }
            let from = text.floor_char_boundary(start + self.piece);
            let mut characters = text[from..].char_indices().peekable();
            let mut end = text.len();
            while let Some((_, before)) = characters.next() {
                if let Some(&(at, after)) = characters.peek()
                    && self.is_between(before, after)
                {
                    end = from + at;
                    break;
                }
            }
            let piece = start..end;
            start = end;
            Some(piece)
        })
    }

    /// Tokenizes a text piece by piece. Once `keep` tokens are there, further ones are counted.
    ///
    /// # Errors
    /// Those of the tokenizers library.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, text: &str, keep: usize) -> tokenizers::Result<JoinedPieces> {
        let (mut ids, mut strings, mut words, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut characters, mut next_word) = (0, 0);
        let (mut tokens_beyond, mut words_beyond) = (0, 0);
        for piece in self.pieces(text) {
            let piece = &text[piece];
            let encoding = tokenizer.encode_char_offsets(piece, false)?;
            let words_here = encoding.get_word_ids().iter().flatten().max().map_or(0, |&last| last + 1);
            if ids.len() < keep {
                ids.extend_from_slice(encoding.get_ids());
                strings.extend_from_slice(encoding.get_tokens());
                words.extend(encoding.get_word_ids().iter().map(|word| word.map(|word| word + next_word)));
                let moved = encoding.get_offsets().iter().map(|(start, end)| (start + characters, end + characters));
                offsets.extend(moved);
                next_word += words_here;
                characters += piece.chars().count();
            } else {
                tokens_beyond += encoding.len();
                words_beyond += words_here;
            }
        }
        let count = ids.len();
        let (types, special, attention) = (vec![0; count], vec![0; count], vec![1; count]);
        let encoding =
            Encoding::new(ids, types, strings, words, offsets, special, attention, Vec::new(), Default::default());
        Ok(JoinedPieces { encoding, tokens_beyond, words_beyond })
    }
}

/// Characters that BERT's normalizer takes for Chinese and that no normal form changes.
fn is_chinese(character: char) -> bool {
    matches!(character, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{2a6df}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A WordPiece tokenizer with these settings of its normalizer.
    fn tokenizer(normalizer: &str, added: &str) -> Tokenizer {
        let vocabulary = ["[UNK]", "[MASK]", "a", "##a", "b", "##b", "e", "ab", ".", ",", "中", "\u{3400}", "d", "##d"];
        let vocabulary: Vec<String> =
            vocabulary.iter().enumerate().map(|(id, token)| format!(r#""{token}": {id}"#)).collect();
        let json = format!(
            r###"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{added}],
                "normalizer": {normalizer}, "pre_tokenizer": {{"type": "BertPreTokenizer"}}, "post_processor": null,
                "decoder": null, "model": {{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 20, "vocab": {{{}}}}}}}"###,
            vocabulary.join(", ")
        );
        Tokenizer::from_bytes(json).unwrap()
    }

    fn added(id: u32, content: &str, flags: [bool; 4]) -> String {
        let [single_word, lstrip, rstrip, normalized] = flags;
        format!(
            r#"{{"id": {id}, "content": "{content}", "single_word": {single_word}, "lstrip": {lstrip}, "rstrip": {rstrip},
                "normalized": {normalized}, "special": false}}"#
        )
    }

    /// Short pieces, so that short texts have many.
    fn joined(tokenizer: &Tokenizer, text: &str, piece: usize, keep: usize) -> JoinedPieces {
        SafeSplits { piece, ..SafeSplits::of(tokenizer).unwrap() }.encode(tokenizer, text, keep).unwrap()
    }

    fn text() -> impl Strategy<Value = String> {
        let parts = prop_oneof![
            5 => prop::sample::select(vec![" ", ".", ",", "a", "ab", "A", "中", "\u{3400}", "b."]),
            1 => prop::sample::select(vec![
                "  ", "\t", "\u{a0}", "\u{3000}", "é", "e\u{301}", "\u{301}", "\u{316}", "\0", "\u{200d}", "\u{fffd}", "[MASK]", " [MASK] ",
                "[ma", "sk]", "a[MASK]a", "<x>", "d", " d ", "D", "\u{f900}", "\u{2f800}", "。", "ß", "İ", "Σ", "\u{1f642}", "aaaaaaaaaaaaaaaaaaaaaaaaa",
            ]),
        ];
        prop::collection::vec(parts, 0..60).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn pieces_come_to_the_whole(
            text in text(),
            piece in 0..20usize,
            keep in prop_oneof![Just(usize::MAX), 0..30usize],
            flags in any::<[bool; 4]>(),
            mask_flags in any::<[bool; 4]>(),
            other in prop::sample::select(vec!["<x>", "d", "a b", "b.a", ". a", " a", "b ", "a\\u0000", "\\u0000 b", "a\\tb", "AB", "b", "x a"]),
            normalizer in prop_oneof![
                Just("null".to_owned()),
                any::<[bool; 4]>().prop_map(|[clean, chinese, strip, lower]| format!(
                    r#"{{"type": "BertNormalizer", "clean_text": {clean}, "handle_chinese_chars": {chinese}, "strip_accents": {strip}, "lowercase": {lower}}}"#
                )),
            ],
        ) {
            let tokenizer = tokenizer(&normalizer, &[added(1, "[MASK]", mask_flags), added(14, other, flags)].join(", "));
            let whole = tokenizer.encode_char_offsets(&*text, false).unwrap();
            let JoinedPieces { encoding, tokens_beyond, words_beyond } = joined(&tokenizer, &text, piece, keep);
            let kept = encoding.len();
            prop_assert_eq!(kept + tokens_beyond, whole.len());
            prop_assert!(kept >= keep.min(whole.len()));
            prop_assert_eq!(encoding.get_ids(), &whole.get_ids()[..kept]);
            prop_assert_eq!(encoding.get_tokens(), &whole.get_tokens()[..kept]);
            prop_assert_eq!(encoding.get_offsets(), &whole.get_offsets()[..kept]);
            prop_assert_eq!(encoding.get_word_ids(), &whole.get_word_ids()[..kept]);
            let words = |words: &[Option<u32>]| words.iter().flatten().max().map_or(0, |last| last + 1);
            prop_assert_eq!(words(encoding.get_word_ids()) + words_beyond, words(whole.get_word_ids()));
        }
    }

    #[test]
    fn texts_of_one_token_a_character_have_pieces() {
        let bert = r#"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#;
        let tokenizer = tokenizer(bert, &added(1, "[MASK]", [false, true, false, false]));
        for text in ["....", "b b ", "a a ", "m k ", "中中中中", "中.中 "] {
            let splits = SafeSplits::of(&tokenizer).unwrap();
            let text = text.repeat(100_000);
            let pieces: Vec<Range<usize>> = splits.pieces(&text).collect();
            assert!(pieces.iter().all(|piece| piece.len() < PIECE + 20), "{pieces:?}");
            assert_eq!(pieces.iter().map(Range::len).sum::<usize>(), text.len());
        }
    }
}
