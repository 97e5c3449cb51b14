//! Entities from tags, strictly by their scheme, as seqeval's strict mode counts them.
//!
//! Schemes: IOB1 and IOB2 (Ramshaw & Marcus 1995; Tjong Kim Sang & Veenstra 1999), and BIOES, also spelled BILOU.
//! Reference: `seqeval.scheme` (`metrics.sequence_labeling` with `mode="strict"`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A tagging scheme, by which tags show where an entity begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// `B-` only where an entity follows one of its own type.
    #[serde(rename = "IOB1")]
    Iob1,
    /// Every entity begins with `B-`.
    #[serde(rename = "IOB2")]
    Iob2,
    /// `B-`, `I-`, `E-`, and `S-` for one word; or `B-`, `I-`, `L-` and `U-`.
    #[serde(rename = "BIOES")]
    Bioes,
}

/// An entity: words `start..end` of its text, and its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity<'a> {
    /// Its first word.
    pub start: usize,
    /// The word after its last.
    pub end: usize,
    /// What follows the tag's prefix.
    pub kind: &'a str,
}

/// The prefix of a tag, before the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Outside,
    Begin,
    Inside,
    End,
    Single,
}

/// The prefix and the type of a tag; `None` for a label that is not a tag.
fn parts(tag: &str) -> Option<(Prefix, &str)> {
    if tag == "O" {
        return Some((Prefix::Outside, ""));
    }
    let (prefix, kind) = tag.split_once('-')?;
    let prefix = match prefix {
        "B" => Prefix::Begin,
        "I" | "M" => Prefix::Inside,
        "E" | "L" => Prefix::End,
        "S" | "U" => Prefix::Single,
        _ => return None,
    };
    (!kind.is_empty()).then_some((prefix, kind))
}

impl Scheme {
    /// The scheme of labelled texts; `None` when their labels are no entity tags. `texts` are the tags of each text.
    pub fn find<'a, T: IntoIterator<Item = &'a str>>(texts: impl IntoIterator<Item = T>) -> Option<Self> {
        let (mut entities, mut ends, mut begins, mut begins_late, mut inside_first) =
            (false, false, false, false, false);
        for text in texts {
            let mut before = (Prefix::Outside, "");
            for tag in text {
                let now = parts(tag)?;
                let follows = before.0 != Prefix::Outside && before.1 == now.1;
                match now.0 {
                    Prefix::Outside => {}
                    Prefix::Begin => {
                        begins = true;
                        begins_late |= !follows;
                    }
                    Prefix::Inside => inside_first |= !follows,
                    Prefix::End | Prefix::Single => ends = true,
                }
                entities |= now.0 != Prefix::Outside;
                before = now;
            }
        }
        if !entities {
            return None;
        }
        Some(match (ends, begins) {
            (true, _) => Scheme::Bioes,
            // An entity that begins with I- is IOB1's; a B- where IOB1 has none is a slip in IOB2.
            (false, true) if begins_late || !inside_first => Scheme::Iob2,
            _ => Scheme::Iob1,
        })
    }

    /// The entities of a text, by its tags. Tags out of place belong to no entity.
    pub fn entities<'a>(self, tags: &[&'a str]) -> Vec<Entity<'a>> {
        let outside = (Prefix::Outside, "");
        let tags: Vec<(Prefix, &str)> = tags.iter().map(|tag| parts(tag).unwrap_or(outside)).chain([outside]).collect();
        let mut entities = Vec::new();
        let (mut at, mut before) = (0, outside);
        while at < tags.len() {
            let mut next = at + 1;
            if self.starts(before, tags[at]) {
                let mut last = tags[at];
                while next < tags.len() && self.continues(last, tags[next]) {
                    last = tags[next];
                    next += 1;
                }
                if next < tags.len() && self.ends(last, tags[next]) {
                    entities.push(Entity { start: at, end: next, kind: tags[at].1 });
                }
            }
            before = tags[next - 1];
            at = next;
        }
        entities
    }

    fn starts(self, before: (Prefix, &str), now: (Prefix, &str)) -> bool {
        use Prefix::{Begin, Inside, Outside, Single};
        let same = before.1 == now.1;
        match self {
            Scheme::Iob2 => now.0 == Begin,
            Scheme::Bioes => matches!(now.0, Begin | Single),
            Scheme::Iob1 => match (before.0, now.0) {
                (Outside | Begin, Inside) => true,
                (Inside, Inside) => !same,
                (Inside | Begin, Begin) => same,
                _ => false,
            },
        }
    }

    fn continues(self, before: (Prefix, &str), now: (Prefix, &str)) -> bool {
        use Prefix::{Begin, End, Inside};
        let continues = match self {
            Scheme::Iob1 | Scheme::Iob2 => now.0 == Inside,
            Scheme::Bioes => matches!(now.0, Inside | End),
        };
        continues && matches!(before.0, Begin | Inside) && before.1 == now.1
    }

    fn ends(self, before: (Prefix, &str), now: (Prefix, &str)) -> bool {
        use Prefix::{Begin, End, Inside, Outside, Single};
        let same = before.1 == now.1;
        match self {
            Scheme::Bioes => matches!(before.0, Single | End),
            Scheme::Iob1 | Scheme::Iob2 => match (before.0, now.0) {
                (Begin | Inside, Outside) => true,
                (Begin | Inside, Inside) => !same,
                (Inside, Begin) => true,
                (Begin, Begin) => same || self == Scheme::Iob2,
                _ => false,
            },
        }
    }
}

/// Counts of entities for each type: in both taggings, in the first, and in the second.
pub fn compare<'a>(gold: &[Entity<'a>], predicted: &[Entity<'a>]) -> Vec<(&'a str, [u32; 3])> {
    let kinds: BTreeSet<&str> = gold.iter().chain(predicted).map(|entity| entity.kind).collect();
    let of = |entities: &[Entity<'a>], kind: &str| entities.iter().filter(|entity| entity.kind == kind).count() as u32;
    let both =
        |kind: &str| gold.iter().filter(|entity| entity.kind == kind && predicted.contains(entity)).count() as u32;
    kinds.into_iter().map(|kind| (kind, [both(kind), of(gold, kind), of(predicted, kind)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(scheme: Scheme, tags: &str) -> Vec<String> {
        let tags: Vec<&str> = tags.split(' ').collect();
        scheme.entities(&tags).iter().map(|entity| format!("{}:{}-{}", entity.kind, entity.start, entity.end)).collect()
    }

    #[test]
    fn iob2_wants_a_beginning() {
        assert_eq!(spans(Scheme::Iob2, "B-PER I-PER O B-LOC B-LOC"), ["PER:0-2", "LOC:3-4", "LOC:4-5"]);
        assert_eq!(spans(Scheme::Iob2, "I-PER I-PER O"), [""; 0], "no B-");
        assert_eq!(spans(Scheme::Iob2, "B-PER I-LOC I-LOC"), ["PER:0-1"], "another type is out of place");
        assert_eq!(spans(Scheme::Iob2, "O I-LOC B-PER"), ["PER:2-3"]);
    }

    #[test]
    fn iob1_begins_inside() {
        assert_eq!(
            spans(Scheme::Iob1, "I-PER I-PER O I-LOC B-LOC I-ORG"),
            ["PER:0-2", "LOC:3-4", "LOC:4-5", "ORG:5-6"]
        );
        assert_eq!(spans(Scheme::Iob1, "O B-PER O"), [""; 0], "B- only after its own type");
    }

    #[test]
    fn bioes_wants_an_end() {
        assert_eq!(spans(Scheme::Bioes, "S-PER B-LOC I-LOC E-LOC O"), ["PER:0-1", "LOC:1-4"]);
        assert_eq!(spans(Scheme::Bioes, "B-LOC I-LOC O B-PER E-LOC"), [""; 0]);
        assert_eq!(spans(Scheme::Bioes, "U-PER B-LOC L-LOC"), ["PER:0-1", "LOC:1-3"]);
    }

    #[test]
    fn the_scheme_is_found() {
        let find = |texts: &[&str]| Scheme::find(texts.iter().map(|text| text.split(' ')));
        assert_eq!(find(&["O B-PER I-PER", "O O"]), Some(Scheme::Iob2));
        assert_eq!(find(&["O I-PER I-PER", "I-LOC B-LOC"]), Some(Scheme::Iob1));
        assert_eq!(find(&["O B-PER I-PER", "I-LOC O"]), Some(Scheme::Iob2), "with a slip");
        assert_eq!(find(&["O S-PER"]), Some(Scheme::Bioes));
        assert_eq!(find(&["NOUN VERB"]), None);
        assert_eq!(find(&["O O"]), None);
        assert_eq!(find(&["O B-"]), None);
    }

    /// The cases are made by tests/golden/entities/make.py.
    #[test]
    fn entities_are_those_of_seqeval() {
        let cases = include_str!("../../tests/golden/entities/cases.jsonl");
        let (mut count, mut entities) = (0, 0);
        for case in cases.lines() {
            let (scheme, tags, expected): (Scheme, Vec<String>, Vec<(usize, usize, String)>) =
                serde_json::from_str(case).unwrap();
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let found = scheme.entities(&tags);
            let found: Vec<_> =
                found.into_iter().map(|entity| (entity.start, entity.end, entity.kind.to_owned())).collect();
            assert_eq!(found, expected, "{case}");
            (count, entities) = (count + 1, entities + found.len());
        }
        assert!(count == 900 && entities > 500, "{count} {entities}");
    }

    #[test]
    fn entities_are_the_same_when_all_is() {
        let gold = Scheme::Iob2.entities(&["B-PER", "I-PER", "B-LOC"]);
        let predicted = Scheme::Iob2.entities(&["B-PER", "O", "B-LOC"]);
        assert_eq!(compare(&gold, &predicted), [("LOC", [1, 1, 1]), ("PER", [0, 1, 1])]);
    }
}
