//! A machine for pickles that runs none of their code: what Python would import and call is noted and left alone.
//!
//! A pickle is a program for a machine with a stack. Values name each other by their place in one list, as objects do
//! in Python, and no opcode goes down into a value. So a value that is used twice is held once, nesting costs no stack
//! of ours, and memory is that of the opcodes, not of what they would spell out.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use super::problem::PickleProblem;

/// Values of one pickle. A BERT takes some thousands, a checkpoint with an optimizer some ten thousands.
const MOST_VALUES: usize = 1 << 22;
/// Items of all tuples, lists and dicts of one pickle, in which a value may stand any number of times.
const MOST_ITEMS: usize = 1 << 23;
/// Bytes of all texts of one pickle.
const MOST_TEXT: usize = 64 << 20;
/// Longer texts name no tensor; they are passed over.
const LONGEST_TEXT: u64 = 512;
/// Bytes of a line, in the opcodes that have one.
const LONGEST_LINE: u64 = 1 << 16;
/// The latest protocol, of Python 3.8.
const LATEST_PROTOCOL: u8 = 5;

/// A value of a pickle, by its place among all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// What a pickle spells out.
#[derive(Debug, PartialEq)]
pub(super) enum PickleValue {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian.
    LongInt(Box<[u8]>),
    Text(Box<str>),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function of Python as `module.name`, which is not imported.
    Global(Box<str>),
    /// What Python would make by a call, with the items that were then set on it.
    Called {
        callable: Id,
        arguments: Id,
        items: Vec<(Id, Id)>,
    },
    /// What lies outside the pickle, by its description.
    Persistent(Id),
    /// Anything that no tensor is made of: floats, bytes, sets, long texts.
    Opaque,
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<PickleValue>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle, and nothing of what follows it.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Self, PickleProblem> {
        let mut machine = Machine {
            reader,
            values: vec![PickleValue::None, PickleValue::Bool(false), PickleValue::Bool(true), PickleValue::Opaque],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            items: 0,
            text: 0,
        };
        while !machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }

    /// What the pickle is of.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn get(&self, id: Id) -> &PickleValue {
        // Ids come from this pickle alone, and values are never removed.
        &self.values[id.0 as usize]
    }

    /// All values, also those that the root does not lead to.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.values.len() as u32).map(Id)
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            PickleValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn global(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            PickleValue::Global(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            PickleValue::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The items of a list or a tuple.
    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            PickleValue::Tuple(items) => Some(items),
            PickleValue::List(items) => Some(items),
            _ => None,
        }
    }

    /// An integer that is a count or a place.
    pub(super) fn count(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            PickleValue::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

const NONE: Id = Id(0);
const FALSE: Id = Id(1);
const TRUE: Id = Id(2);
const OPAQUE: Id = Id(3);

struct Machine<'a, R> {
    reader: &'a mut R,
    values: Vec<PickleValue>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items of values so far.
    items: usize,
    /// Bytes of texts so far.
    text: usize,
}

impl<R: BufRead> Machine<'_, R> {
    /// Does one opcode; whether it was the last.
    fn step(&mut self) -> Result<bool, PickleProblem> {
        match self.byte()? {
            b'.' => return Ok(true),
            // What the pickle is written in.
            0x80 => {
                let protocol = self.byte()?;
                if protocol > LATEST_PROTOCOL {
                    return Err(PickleProblem::Damaged(format!("its pickle has protocol {protocol}")));
                }
            }
            0x95 => self.skip(8)?,

            // The stack, and the memo of what is used again.
            b'(' => {
                bounded(self.marks.len())?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'p' => {
                let place = self.number_of_line()?;
                self.memoize(place)?;
            }
            b'q' => {
                let place = self.byte()?;
                self.memoize(u32::from(place))?;
            }
            b'r' => {
                let place = self.u32()?;
                self.memoize(place)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'g' => {
                let place = self.number_of_line()?;
                self.recall(place)?;
            }
            b'h' => {
                let place = self.byte()?;
                self.recall(u32::from(place))?;
            }
            b'j' => {
                let place = self.u32()?;
                self.recall(place)?;
            }

            // Constants and numbers.
            b'N' => self.push(NONE)?,
            0x88 => self.push(TRUE)?,
            0x89 => self.push(FALSE)?,
            b'J' => {
                let number = i32::from_le_bytes(self.bytes()?);
                self.make(PickleValue::Int(number.into()))?;
            }
            b'K' => {
                let number = self.byte()?;
                self.make(PickleValue::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.bytes()?);
                self.make(PickleValue::Int(number.into()))?;
            }
            b'I' | b'L' => {
                let line = self.line()?;
                match line.trim_end_matches('L') {
                    "00" => self.push(FALSE)?,
                    "01" => self.push(TRUE)?,
                    digits => match digits.parse() {
                        Ok(number) => self.make(PickleValue::Int(number))?,
                        Err(_) => self.push(OPAQUE)?,
                    },
                }
            }
            0x8a => {
                let length = self.byte()?;
                self.long_integer(length.into())?;
            }
            0x8b => {
                let length = self.u32()?;
                self.long_integer(length.into())?;
            }
            b'F' => {
                self.line()?;
                self.push(OPAQUE)?;
            }
            b'G' => {
                self.skip(8)?;
                self.push(OPAQUE)?;
            }

            // Texts; those of Python 2 are bytes.
            b'S' => {
                let line = self.line()?;
                let quoted = |quote| line.strip_prefix(quote).and_then(|line| line.strip_suffix(quote));
                match quoted('\'').or_else(|| quoted('"')) {
                    Some(text) => self.unescaped(text)?,
                    None => return Err(PickleProblem::Damaged("a text in its pickle is not in quotes".to_owned())),
                }
            }
            b'V' => {
                let line = self.line()?;
                self.unescaped(&line)?;
            }
            b'U' | 0x8c => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            b'T' | b'X' => {
                let length = self.u32()?;
                self.text(length.into())?;
            }
            0x8d => {
                let length = self.u64()?;
                self.text(length)?;
            }
            b'C' => {
                let length = self.byte()?;
                self.opaque(length.into())?;
            }
            b'B' => {
                let length = self.u32()?;
                self.opaque(length.into())?;
            }
            0x8e | 0x96 => {
                let length = self.u64()?;
                self.opaque(length)?;
            }
            0x97 => self.push(OPAQUE)?,
            0x98 => drop(self.top()?),

            // Tuples, lists, dicts, sets.
            b')' => self.make(PickleValue::Tuple(Box::default()))?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_mark()?;
                self.make(PickleValue::Tuple(items.into()))?;
            }
            b']' => self.make(PickleValue::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.make(PickleValue::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.hold_items(1)?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b'}' => self.make(PickleValue::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.make(PickleValue::Dict(pairs(&items)?))?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.hold_items(2)?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(&items)?;
            }
            0x8f => self.push(OPAQUE)?,
            0x90 => drop(self.pop_mark()?),
            0x91 => {
                self.pop_mark()?;
                self.push(OPAQUE)?;
            }

            // What is imported, called, and kept elsewhere.
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.global(name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module.0 as usize], &self.values[name.0 as usize]) {
                    (PickleValue::Text(module), PickleValue::Text(name)) => self.global(format!("{module}.{name}"))?,
                    _ => return Err(PickleProblem::Damaged("a class in its pickle has no name".to_owned())),
                }
            }
            code @ 0x82..=0x84 => {
                self.skip([1, 2, 4][usize::from(code - 0x82)])?;
                self.push(OPAQUE)?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            0x92 => {
                let (_keywords, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            b'i' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                let arguments = self.pop_mark()?;
                self.global(name)?;
                self.make(PickleValue::Tuple(arguments.into()))?;
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            b'o' => {
                let items = self.pop_mark()?;
                let Some((&callable, arguments)) = items.split_first() else { return Err(underflow()) };
                self.make(PickleValue::Tuple(arguments.into()))?;
                let arguments = self.pop()?;
                self.call(callable, arguments)?;
            }
            // The state of an object, and attributes of a dict, make no tensors.
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            b'P' => {
                self.line()?;
                self.push(OPAQUE)?;
            }
            b'Q' => {
                let description = self.pop()?;
                self.make(PickleValue::Persistent(description))?;
            }
            code => return Err(PickleProblem::Damaged(format!("its pickle has an unknown opcode, {code:#04x}"))),
        }
        Ok(false)
    }

    // Values.

    fn make(&mut self, value: PickleValue) -> Result<(), PickleProblem> {
        bounded(self.values.len())?;
        self.values.push(value);
        self.push(Id(self.values.len() as u32 - 1))
    }

    fn push(&mut self, id: Id) -> Result<(), PickleProblem> {
        bounded(self.stack.len())?;
        self.stack.push(id);
        Ok(())
    }

    /// Takes the last value above the last mark.
    fn pop(&mut self) -> Result<Id, PickleProblem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Id, PickleProblem> {
        match self.stack.last() {
            Some(&id) if self.marks.last() != Some(&self.stack.len()) => Ok(id),
            _ => Err(underflow()),
        }
    }

    /// Takes all that is above the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleProblem> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        let items = self.stack.split_off(mark);
        self.hold_items(items.len())?;
        Ok(items)
    }

    fn tuple(&mut self, length: usize) -> Result<(), PickleProblem> {
        self.hold_items(length)?;
        let mut items = vec![NONE; length];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        self.make(PickleValue::Tuple(items.into()))
    }

    fn append(&mut self, new: Vec<Id>) -> Result<(), PickleProblem> {
        let list = self.top()?;
        match &mut self.values[list.0 as usize] {
            PickleValue::List(items) => items.extend(new),
            PickleValue::Called { .. } | PickleValue::Opaque => {}
            _ => return Err(PickleProblem::Damaged("its pickle appends to what is no list".to_owned())),
        }
        Ok(())
    }

    fn set(&mut self, new: &[Id]) -> Result<(), PickleProblem> {
        let dict = self.top()?;
        match &mut self.values[dict.0 as usize] {
            PickleValue::Dict(items) | PickleValue::Called { items, .. } => items.extend(pairs(new)?),
            PickleValue::Opaque => {}
            _ => return Err(PickleProblem::Damaged("its pickle sets items of what is no dict".to_owned())),
        }
        Ok(())
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), PickleProblem> {
        self.make(PickleValue::Called { callable, arguments, items: Vec::new() })
    }

    fn memoize(&mut self, place: u32) -> Result<(), PickleProblem> {
        bounded(self.memo.len())?;
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), PickleProblem> {
        match self.memo.get(&place) {
            Some(&id) => self.push(id),
            None => Err(PickleProblem::Damaged(format!("its pickle recalls value {place}, which it did not keep"))),
        }
    }

    fn global(&mut self, name: String) -> Result<(), PickleProblem> {
        self.hold(name.len())?;
        self.make(PickleValue::Global(name.into()))
    }

    // Bytes.

    fn byte(&mut self) -> Result<u8, PickleProblem> {
        Ok(self.bytes::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, PickleProblem> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, PickleProblem> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PickleProblem> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<(), PickleProblem> {
        let skipped = io::copy(&mut self.reader.take(length), &mut io::sink())?;
        if skipped < length { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(()) }
    }

    fn opaque(&mut self, length: u64) -> Result<(), PickleProblem> {
        self.skip(length)?;
        self.push(OPAQUE)
    }

    /// A text of so many bytes.
    fn text(&mut self, length: u64) -> Result<(), PickleProblem> {
        if length > LONGEST_TEXT {
            return self.opaque(length);
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes)?;
        match String::from_utf8(bytes) {
            Ok(text) => self.short_text(&text),
            Err(_) => self.push(OPAQUE),
        }
    }

    /// The text of a line. Names of tensors need no escapes; what has any is none.
    fn unescaped(&mut self, text: &str) -> Result<(), PickleProblem> {
        if text.contains('\\') || text.len() as u64 > LONGEST_TEXT { self.push(OPAQUE) } else { self.short_text(text) }
    }

    fn short_text(&mut self, text: &str) -> Result<(), PickleProblem> {
        self.hold(text.len())?;
        self.make(PickleValue::Text(text.into()))
    }

    /// Counts items that are kept.
    fn hold_items(&mut self, count: usize) -> Result<(), PickleProblem> {
        self.items += count;
        if self.items > MOST_ITEMS { Err(too_large()) } else { Ok(()) }
    }

    /// Counts bytes that are kept.
    fn hold(&mut self, bytes: usize) -> Result<(), PickleProblem> {
        self.text += bytes;
        if self.text > MOST_TEXT { Err(too_large()) } else { Ok(()) }
    }

    /// A little-endian integer in two's complement.
    fn long_integer(&mut self, length: u64) -> Result<(), PickleProblem> {
        if length > 16 {
            return self.opaque(length);
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes)?;
        if length > 8 {
            return self.make(PickleValue::LongInt(bytes.into()));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        number[..bytes.len()].copy_from_slice(&bytes);
        self.make(PickleValue::Int(i64::from_le_bytes(number)))
    }

    fn line(&mut self) -> Result<String, PickleProblem> {
        let mut line = Vec::new();
        let read = self.reader.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => {}
            _ if read as u64 == LONGEST_LINE => return Err(too_large()),
            _ => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
        String::from_utf8(line).map_err(|_| PickleProblem::Damaged("a line of its pickle is not text".to_owned()))
    }

    fn number_of_line(&mut self) -> Result<u32, PickleProblem> {
        let line = self.line()?;
        line.parse().map_err(|_| PickleProblem::Damaged(format!("its pickle has `{line}` where a number should be")))
    }
}

/// Keys with their values.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, PickleProblem> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(PickleProblem::Damaged("a dict in its pickle has a key without a value".to_owned())),
    }
}

fn bounded(length: usize) -> Result<(), PickleProblem> {
    if length >= MOST_VALUES { Err(too_large()) } else { Ok(()) }
}

fn underflow() -> PickleProblem {
    PickleProblem::Damaged("its pickle takes a value where it has none".to_owned())
}

fn too_large() -> PickleProblem {
    PickleProblem::Refused(format!(
        "has a pickle of more than {MOST_VALUES} values, {MOST_ITEMS} items of them or {MOST_TEXT} bytes of text; save the model's `state_dict()` alone"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, PickleProblem> {
        Pickle::read(&mut &bytes[..])
    }

    fn problem(bytes: &[u8]) -> String {
        match read(bytes).unwrap_err() {
            PickleProblem::Damaged(problem) | PickleProblem::Refused(problem) => problem,
            PickleProblem::Io(error) => panic!("{error}"),
        }
    }

    /// A value as Python would show it.
    fn shown(pickle: &Pickle, id: Id) -> String {
        let all = |ids: &[Id]| ids.iter().map(|&id| shown(pickle, id)).collect::<Vec<_>>().join(", ");
        let items = |items: &[(Id, Id)]| {
            let items = items.iter().map(|&(key, value)| format!("{}: {}", shown(pickle, key), shown(pickle, value)));
            items.collect::<Vec<_>>().join(", ")
        };
        match pickle.get(id) {
            PickleValue::None => "None".to_owned(),
            PickleValue::Bool(value) => value.to_string(),
            PickleValue::Int(number) => number.to_string(),
            PickleValue::LongInt(bytes) => format!("{bytes:02x?}"),
            PickleValue::Text(text) => format!("'{text}'"),
            PickleValue::Tuple(ids) => format!("({})", all(ids)),
            PickleValue::List(ids) => format!("[{}]", all(ids)),
            PickleValue::Dict(pairs) => format!("{{{}}}", items(pairs)),
            PickleValue::Global(name) => name.to_string(),
            PickleValue::Called { callable, arguments, items: set } if set.is_empty() => {
                format!("{}{}", shown(pickle, *callable), shown(pickle, *arguments))
            }
            PickleValue::Called { callable, arguments, items: set } => {
                format!("{}{}{{{}}}", shown(pickle, *callable), shown(pickle, *arguments), items(set))
            }
            PickleValue::Persistent(id) => format!("<{}>", shown(pickle, *id)),
            PickleValue::Opaque => "…".to_owned(),
        }
    }

    /// Each opcode once at least, as Python's own pickler or `pickletools` writes it.
    #[test]
    fn opcodes_make_the_values_of_python() {
        for (bytes, expected) in [
            (&b"\x80\x02(K\x01M\x00\x01J\xff\xff\xff\xfft."[..], "(1, 256, -1)"),
            (b"(I12\nI01\nI00\nL-7L\nL99999999999999999999L\nt.", "(12, true, false, -7, …)"),
            (b"(\x8a\x00\x8a\x01\xff\x8a\x02\x00\x80\x8b\x01\x00\x00\x00\x7ft.", "(0, -1, -32768, 127)"),
            (b"\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09.", "[01, 02, 03, 04, 05, 06, 07, 08, 09]"),
            (b"(N\x88\x89F1.5\nG\x3f\xf8\x00\x00\x00\x00\x00\x00t.", "(None, true, false, …, …)"),
            (b"(S'one'\nS\"two\"\nVthree\nU\x04fourT\x04\x00\x00\x00fivet.", "('one', 'two', 'three', 'four', 'five')"),
            (b"(X\x01\x00\x00\x00a\x8c\x01b\x8d\x01\x00\x00\x00\x00\x00\x00\x00ct.", "('a', 'b', 'c')"),
            (b"(Va\\u1234\nS'a\\n'\nU\x01\xfft.", "(…, …, …)"),
            (b"(C\x01aB\x01\x00\x00\x00a\x8e\x01\x00\x00\x00\x00\x00\x00\x00a\x96\x01\x00\x00\x00\x00\x00\x00\x00a\x97\x98t.", "(…, …, …, …, …)"),
            (b")K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87(ttt.", "takes a value where it has none"),
            (b"()K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87t.", "((), (1), (1, 2), (1, 2, 3))"),
            (b"(](K\x01K\x02l]K\x03a](K\x04K\x05et.", "([], [1, 2], [3], [4, 5])"),
            (b"(}(K\x01K\x02d}K\x03K\x04s}(K\x05K\x06K\x07K\x08ut.", "({}, {1: 2}, {3: 4}, {5: 6, 7: 8})"),
            (b"(\x8f(K\x01\x90(K\x01\x91t.", "(…, …)"),
            (b"(K\x010K\x02(K\x031K\x042t.", "(2, 4, 4)"),
            (b"(K\x07p300\nq\x01r\x00\x00\x00\x02\x94g300\nh\x01j\x00\x00\x00\x02h\x03t.", "(7, 7, 7, 7, 7)"),
            (b"ca.b\nC\n.", "a.b.C"),
            (b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x8c\x01m\x8c\x01c\x93.", "m.c"),
            (b"(\x82\x01\x83\x01\x02\x84\x01\x02\x03\x04t.", "(…, …, …)"),
            (b"(cm\nf\n)Rcm\nf\nK\x01\x85\x81cm\nf\n)}\x92t.", "(m.f(), m.f(1), m.f())"),
            (b"((K\x01im\nf\n(cm\nf\nK\x02ot.", "(m.f(1), m.f(2))"),
            (b"cm\nf\n)R}K\x01K\x02sbK\x03K\x04s.", "m.f(){3: 4}"),
            (b"(Pid\nK\x01Qt.", "(…, <1>)"),
        ] {
            match read(bytes) {
                Ok(pickle) => assert_eq!(shown(&pickle, pickle.root()), expected, "{bytes:?}"),
                Err(PickleProblem::Damaged(problem)) => assert!(problem.contains(expected), "{bytes:?}: {problem}"),
                Err(problem) => panic!("{bytes:?}: {problem:?}"),
            }
        }
    }

    #[test]
    fn a_value_that_is_used_again_is_the_same_one() {
        // A dict that is kept before its items are set, and then is one of its own values.
        let pickle = read(b"}q\x00U\x04selfh\x00s.").unwrap();
        let PickleValue::Dict(items) = pickle.get(pickle.root()) else { panic!("a dict") };
        assert_eq!(items[0].1, pickle.root());
    }

    #[test]
    fn nothing_is_read_beyond_the_end_of_a_pickle() {
        let mut bytes = &b"K\x01.K\x02.rest"[..];
        for number in 1..=2 {
            let pickle = Pickle::read(&mut bytes).unwrap();
            assert_eq!(*pickle.get(pickle.root()), PickleValue::Int(number));
        }
        assert_eq!(bytes, b"rest");
    }

    #[test]
    fn senseless_pickles_are_errors() {
        for (bytes, expected) in [
            (&b""[..], "ends too early"),
            (b"K", "ends too early"),
            (b"U\x05abc", "ends too early"),
            (b"X\xff\xff\xff\xffabc", "ends too early"),
            (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc", "ends too early"),
            (b"ca", "ends too early"),
            (b".", "takes a value"),
            (b"(.", "takes a value"),
            (b"K\x01(K\x02R.", "takes a value"),
            (b"K\x01(a.", "takes a value"),
            (b"K\x01t.", "takes a value"),
            (b"(2.", "takes a value"),
            (b"(o.", "takes a value"),
            (b"\x80\x06.", "protocol 6"),
            (b"\xff", "unknown opcode, 0xff"),
            (b"h\x05.", "recalls value 5"),
            (b"gx\n.", "where a number should be"),
            (b"K\x01K\x02a.", "no list"),
            (b"K\x01K\x02K\x03s.", "no dict"),
            (b"}(K\x01u.", "without a value"),
            (b"K\x01K\x02\x93.", "no name"),
            (b"Sabc\n.", "not in quotes"),
            (b"c\xff\nb\n.", "not text"),
        ] {
            assert!(problem(bytes).contains(expected), "{bytes:?}: {}", problem(bytes));
        }
    }

    #[test]
    fn values_texts_and_lines_are_bounded() {
        assert!(size_of::<PickleValue>() <= 40, "{} bytes", size_of::<PickleValue>());
        for opcodes in [&b"]"[..], b"(", b"N", b"K\x01", b"\x88\x94"] {
            let bytes = opcodes.repeat(MOST_VALUES + 4);
            assert!(problem(&bytes).contains("save the model's `state_dict()` alone"), "{opcodes:?}");
        }
        // One value that stands in a list, a tuple, a dict any number of times.
        for (first, opcodes, items) in [
            (b'N', &b"(NNNNNNNNl0"[..], 8),
            (b'N', b"(NNNNNNNNt0", 8),
            (b'N', b"(NNNNNNNNd0", 8),
            (b']', b"(NNNNNNNNe", 8),
            (b']', b"Na", 1),
            (b'}', b"(NNNNNNNNu", 8),
            (b'}', b"NNs", 2),
        ] {
            let bytes = [&[first], &opcodes.repeat(MOST_ITEMS / items + 1)[..]].concat();
            assert!(problem(&bytes).contains("items of them"), "{opcodes:?}");
        }
        let text = [&b"X\x00\x02\x00\x00"[..], &[b'a'; 512], b"0"].concat();
        assert!(problem(&text.repeat(MOST_TEXT / 512 + 1)).contains("bytes of text"));
        assert!(problem(&[b'c'; 1 << 17]).contains("bytes of text"));
        // A longer text is passed over.
        let long = [&b"X\x01\x02\x00\x00"[..], &[b'a'; 513], b"."].concat();
        let pickle = read(&long).unwrap();
        assert_eq!(*pickle.get(pickle.root()), PickleValue::Opaque);
    }

    #[test]
    fn nesting_and_doubling_cost_no_more_than_their_bytes() {
        // A list in a list in a list, and a tuple of the last tuple twice: 2^100,000 values if they were written out.
        let depth = 1_000_000;
        let nested = [b"]".repeat(depth), b"a".repeat(depth - 1), b".".to_vec()].concat();
        assert_eq!(read(&nested).unwrap().ids().count(), 4 + depth);
        let doubled = [&b")"[..], &b"2\x86".repeat(100_000), b"."].concat();
        assert_eq!(read(&doubled).unwrap().ids().count(), 4 + 1 + 100_000);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_opcodes_panic(picks in proptest::collection::vec((0..OPCODES.len(), 0..4u8), 0..60)) {
            let mut bytes = Vec::new();
            for (pick, byte) in picks {
                bytes.push(OPCODES[pick]);
                if b"KhqCU".contains(&OPCODES[pick]) {
                    bytes.push(byte);
                    bytes.resize(bytes.len() + if b"CU".contains(&OPCODES[pick]) { usize::from(byte) } else { 0 }, b'x');
                }
            }
            bytes.push(b'.');
            let _ = read(&bytes);
        }
    }

    /// Opcodes without arguments, and some with one byte.
    const OPCODES: &[u8] = b"(012N\x88\x89\x94)\x85\x86\x87t]lae}dsu\x8f\x90\x91\x93R\x81\x92obQKhqCU";
}
