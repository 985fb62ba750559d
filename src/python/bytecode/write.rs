//! Writes code in canonical form: a function of the code's value alone.
//!
//! CPython's `w_object` uses the identity and reference counts of objects to choose between a value
//! and a reference, and to mark strings as interned; both depend on the history of the compiling
//! process. Here:
//!
//! - a value with several occurrences is written at the first and referred to at the others, unless
//!   Python has a single object for it anyway (`None`, small integers, empty and one-letter
//!   strings, the empty tuple);
//! - only values with references have the reference flag, numbered in the order of writing;
//! - a string is interned if used as a name in any code object of the file, or if Python interns it
//!   on loading: an ASCII constant of letters, digits and underscores (`all_name_chars` in
//!   `Objects/codeobject.c`).

use super::error::MarshalError;
use super::magic::{Field, PycFormat};
use super::read::{FLAG_REF, MAX_DEPTH};
use super::value::{Code, Id, Sign, Value, Values};

/// Appends the canonical form of `root` to `out`.
pub(super) fn write(
    values: &Values<'_>,
    root: Id,
    format: &PycFormat,
    out: &mut Vec<u8>,
) -> Result<(), MarshalError> {
    let uses = Uses::count(values, root, format);
    let mut writer = Writer { values, format, uses, next: 0, todo: vec![(Todo::Value(root), 1)], out };
    writer.run()
}

/// The uses of each value, counted before writing.
struct Uses(Vec<Use>);

#[derive(Clone, Copy, Default)]
struct Use {
    /// The number of occurrences, up to two.
    occurrences: u8,
    /// True for a string used as a name.
    is_name: bool,
    /// The index in the reference table, once written.
    number: Option<u32>,
}

impl Uses {
    fn count(values: &Values<'_>, root: Id, format: &PycFormat) -> Self {
        let mut uses = Self(vec![Use::default(); values.len()]);
        let mut todo = Vec::new();
        uses.count_occurrence(root, &mut todo);
        while let Some(id) = todo.pop() {
            let Some(value) = values.get(id) else { continue };
            for child in value.children() {
                uses.count_occurrence(*child, &mut todo);
            }
            if let Value::Code(code) = value {
                uses.name(code, values, format);
            }
        }
        uses
    }

    /// Counts an occurrence of `id`, and queues its parts at the first.
    fn count_occurrence(&mut self, id: Id, todo: &mut Vec<Id>) {
        let Some(of) = self.0.get_mut(id.index()) else { return };
        of.occurrences = of.occurrences.saturating_add(1).min(2);
        if of.occurrences == 1 {
            todo.push(id);
        }
    }

    fn name(&mut self, code: &Code, values: &Values<'_>, format: &PycFormat) {
        let fields = format.fields.iter().filter(|field| **field != Field::Number);
        for (field, id) in fields.zip(&code.values) {
            let names = match (field, values.get(*id)) {
                (Field::Name | Field::FileName, _) => std::slice::from_ref(id),
                (Field::Names, Some(Value::Tuple(names))) => names,
                _ => continue,
            };
            for name in names {
                if let Some(of) = self.0.get_mut(name.index()) {
                    of.is_name = true;
                }
            }
        }
    }
}

enum Todo {
    Value(Id),
    Number(u32),
}

struct Writer<'v, 'a, 'o> {
    values: &'v Values<'a>,
    format: &'v PycFormat,
    uses: Uses,
    next: u32,
    /// The values still to be written, the last first, each with its depth.
    todo: Vec<(Todo, usize)>,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_, '_> {
    fn run(&mut self) -> Result<(), MarshalError> {
        while let Some((todo, depth)) = self.todo.pop() {
            match todo {
                Todo::Number(number) => self.number(number),
                Todo::Value(id) => self.value(id, depth)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, id: Id, depth: usize) -> Result<(), MarshalError> {
        // A value shared with a shallower occurrence may be expanded at a deeper one that comes
        // first.
        if depth > MAX_DEPTH {
            return Err(MarshalError::TooDeep(MAX_DEPTH));
        }
        let (Some(value), Some(of)) = (self.values.get(id), self.uses.0.get_mut(id.index())) else {
            return Ok(());
        };
        if let Some(number) = of.number {
            self.out.push(b'r');
            self.number(number);
            return Ok(());
        }
        let mut flag = 0;
        if of.occurrences > 1 && !is_singleton(value) {
            flag = FLAG_REF;
            of.number = Some(self.next);
            self.next += 1;
        }
        let is_name = of.is_name;
        match value {
            Value::None => self.out.push(b'N'),
            Value::False => self.out.push(b'F'),
            Value::True => self.out.push(b'T'),
            Value::Ellipsis => self.out.push(b'.'),
            Value::Int(int) => {
                self.out.push(b'i' | flag);
                self.number(int.cast_unsigned());
            }
            Value::Long { sign, digits } => {
                self.out.push(b'l' | flag);
                let count = length(digits.len() / 2)?;
                self.number(if *sign == Sign::Minus { count.wrapping_neg() } else { count });
                self.out.extend_from_slice(digits);
            }
            Value::Float(bits) => {
                self.out.push(b'g' | flag);
                self.out.extend_from_slice(bits);
            }
            Value::Complex(bits) => {
                self.out.push(b'y' | flag);
                self.out.extend_from_slice(bits);
            }
            Value::Bytes(bytes) => {
                self.out.push(b's' | flag);
                self.number(length(bytes.len())?);
                self.out.extend_from_slice(bytes);
            }
            Value::Text(text) => self.text(text, flag, is_name || is_name_like(text))?,
            Value::Tuple(items) => {
                if let Ok(short) = u8::try_from(items.len()) {
                    self.out.extend_from_slice(&[b')' | flag, short]);
                } else {
                    self.out.push(b'(' | flag);
                    self.number(length(items.len())?);
                }
                self.push_items(items, depth);
            }
            Value::Frozenset(items) => {
                self.out.push(b'>' | flag);
                self.number(length(items.len())?);
                self.push_items(items, depth);
            }
            Value::Slice(items) => {
                self.out.push(b':' | flag);
                self.push_items(items, depth);
            }
            Value::Code(code) => {
                self.out.push(b'c' | flag);
                let first = self.todo.len();
                let (mut numbers, mut values) = (code.numbers.iter(), code.values.iter());
                for field in self.format.fields {
                    let todo = match field {
                        Field::Number => numbers.next().map(|number| Todo::Number(*number)),
                        _ => values.next().map(|id| Todo::Value(*id)),
                    };
                    self.todo.extend(todo.map(|todo| (todo, depth + 1)));
                }
                self.todo[first..].reverse();
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8], flag: u8, interned: bool) -> Result<(), MarshalError> {
        if !text.is_ascii() {
            self.out.push(if interned { b't' } else { b'u' } | flag);
            self.number(length(text.len())?);
        } else if let Ok(short) = u8::try_from(text.len()) {
            self.out.extend_from_slice(&[if interned { b'Z' } else { b'z' } | flag, short]);
        } else {
            self.out.push(if interned { b'A' } else { b'a' } | flag);
            self.number(length(text.len())?);
        }
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn push_items(&mut self, items: &[Id], depth: usize) {
        self.todo.extend(items.iter().rev().map(|id| (Todo::Value(*id), depth + 1)));
    }

    fn number(&mut self, number: u32) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }
}

fn length(length: usize) -> Result<u32, MarshalError> {
    u32::try_from(length)
        .ok()
        .filter(|length| i32::try_from(*length).is_ok())
        .ok_or(MarshalError::TooLarge(length))
}

/// Returns whether Python has a single object for this value even without references, so that
/// repeated writing costs neither memory nor identity.
fn is_singleton(value: &Value<'_>) -> bool {
    match value {
        Value::None | Value::False | Value::True | Value::Ellipsis => true,
        Value::Int(int) => (-5..=256).contains(int),
        Value::Text(text) => text.len() <= 1,
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Tuple(items) => items.is_empty(),
        _ => false,
    }
}

fn is_name_like(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
