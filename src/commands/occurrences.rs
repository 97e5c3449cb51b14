//! Where a word, or several, stand in a text.

use crate::input::{Span, Text};

/// The places of `phrase` in a text, in the order of the text: in characters, or in words where these are given. Case makes no
/// difference, and neither does how much white space is between words. Letters and digits around it would make it another word.
pub(super) fn occurrences(text: &Text, phrase: &str) -> Vec<Span> {
    match &text.words {
        Some(words) => among_words(&words.iter().map(|word| &text.text[word.clone()]).collect::<Vec<_>>(), phrase),
        None => among_characters(&text.text, phrase),
    }
}

/// A text in small letters with single spaces, and for each character the one that it was in the text.
fn folded(text: &str) -> Vec<(char, usize)> {
    let mut folded: Vec<(char, usize)> = Vec::new();
    for (index, c) in text.chars().enumerate() {
        if !c.is_whitespace() {
            folded.extend(c.to_lowercase().map(|c| (c, index)));
        } else if folded.last().is_none_or(|(last, _)| *last != ' ') {
            folded.push((' ', index));
        }
    }
    folded
}

fn among_characters(text: &str, phrase: &str) -> Vec<Span> {
    let wanted: Vec<char> = folded(phrase.trim()).into_iter().map(|(c, _)| c).collect();
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Vec::new() };
    let text = folded(text);
    let (mut found, mut at) = (Vec::new(), 0);
    while at + wanted.len() <= text.len() {
        let end = at + wanted.len();
        let is_same = text[at..end].iter().map(|(c, _)| c).eq(&wanted);
        let goes_on = |one: &char, other: Option<&(char, usize)>| {
            one.is_alphanumeric() && other.is_some_and(|(other, _)| other.is_alphanumeric())
        };
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        if is_same && !goes_on(first, before) && !goes_on(last, text.get(end)) {
            found.push(text[at].1..text[end - 1].1 + 1);
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// Words that together read like the phrase; each may hold spaces of its own.
fn among_words(words: &[&str], phrase: &str) -> Vec<Span> {
    let letters = |text: &str| folded(text.trim()).into_iter().map(|(c, _)| c).collect::<String>();
    let wanted = letters(phrase);
    if wanted.is_empty() {
        return Vec::new();
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while at < words.len() {
        let mut read = String::new();
        let mut end = at;
        while end < words.len() && read.len() < wanted.len() {
            if !read.is_empty() {
                read.push(' ');
            }
            read += &letters(words[end]);
            end += 1;
        }
        if read == wanted {
            found.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(text: &str, phrase: &str) -> Vec<String> {
        let text = Text { text: text.to_owned(), words: None };
        let spell = |span: Span| text.text.chars().skip(span.start).take(span.len()).collect();
        occurrences(&text, phrase).into_iter().map(spell).collect()
    }

    #[test]
    fn words_and_phrases_are_found_where_they_stand_alone() {
        assert_eq!(spelled("Bank, bank. Embank the banks by the bank", "bank"), ["Bank", "bank", "bank"]);
        assert_eq!(spelled("new  york is New\nYork", "New York"), ["new  york", "New\nYork"]);
        assert_eq!(spelled("a well-known fact, well known", "well-known"), ["well-known"]);
        assert_eq!(spelled("I don't; DON'T", "don't"), ["don't", "DON'T"]);
        assert_eq!(spelled("the İstanbul road, STRASSE", "strasse"), ["STRASSE"]);
        assert_eq!(spelled("C++ and C+ and C++11", "C++"), ["C++", "C++"]);
        assert_eq!(spelled("aa a aaa", "a"), ["a"]);
        assert!(spelled("anything", " ").is_empty() && spelled("", "a").is_empty());
    }

    #[test]
    fn given_words_are_counted() {
        let words = Text::of_words(["the river", "old", "the", "River", "the"]);
        assert_eq!(occurrences(&words, "the river"), [0..1, 2..4]);
        assert_eq!(occurrences(&words, "old"), [1..2]);
        assert!(occurrences(&words, "river the").len() == 1 && occurrences(&words, "riv").is_empty());
    }

    proptest! {
        #[test]
        fn what_is_found_reads_like_the_phrase(text in "[aAbßİ \n.-]{0,24}", phrase in "[aAbßİ .-]{1,4}") {
            let fold = |text: &str| folded(text.trim()).into_iter().map(|(c, _)| c).collect::<String>();
            for found in spelled(&text, &phrase) {
                prop_assert_eq!(fold(&found), fold(&phrase));
            }
        }
    }
}
