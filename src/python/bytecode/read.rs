//! Parses marshalled code: the subset of CPython's `Python/marshal.c` (versions 2 to 6) written by
//! compilers.
//!
//! Mutable values (lists, dicts, sets), numbers as text and similar types never occur in compiled
//! code objects, and are rejected. The reader has its own stack, so depth costs no thread stack,
//! and allocates only in proportion to bytes already read.

use super::error::MarshalError;
use super::magic::{Field, PycFormat, Slices};
use super::value::{Code, Id, Sign, Value, Values};

/// The nesting limit: CPython's `MAX_MARSHAL_STACK_DEPTH`. Python reads no deeper values.
pub(super) const MAX_DEPTH: usize = 2000;

/// The largest accepted stream, in bytes. The largest existing modules have a hundredth.
const MAX_BYTES: usize = 256 << 20;

/// The flag of a value with an entry in the reference table.
pub(super) const FLAG_REF: u8 = 0x80;

/// Parses one code object that fills `bytes`. All code in it gets `filename` as its file name.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    format: &'static PycFormat,
    filename: &'a str,
) -> Result<(Values<'a>, Id), MarshalError> {
    if bytes.len() > MAX_BYTES {
        return Err(MarshalError::TooLarge(bytes.len()));
    }
    let mut values = Values::new(bytes.len());
    let filename = values.add(Value::Text(filename.as_bytes()))?;
    let mut reader = MarshalReader {
        bytes,
        at: 0,
        format,
        values,
        filename,
        refs: Vec::new(),
        open: Vec::new(),
        parts: Vec::new(),
        numbers: Vec::new(),
    };
    let root = reader.run()?;
    if !matches!(reader.values.get(root), Some(Value::Code(_))) {
        return Err(MarshalError::Value { expected: "code object", at: 0 });
    }
    if reader.at != bytes.len() {
        return Err(MarshalError::Trailing(reader.at));
    }
    Ok((reader.values, root))
}

struct MarshalReader<'a> {
    bytes: &'a [u8],
    at: usize,
    format: &'static PycFormat,
    values: Values<'a>,
    filename: Id,
    /// The reference table; `None` for a value not yet complete.
    refs: Vec<Option<Id>>,
    /// The incomplete values, outermost first.
    open: Vec<OpenValue>,
    /// The parts of incomplete values so far, those of the innermost last. One stack for all saves
    /// an allocation for each.
    parts: Vec<Id>,
    /// The numbers of incomplete code objects so far.
    numbers: Vec<u32>,
}

/// A value with parts still to be read.
struct OpenValue {
    kind: Composite,
    /// The offset of the value's first byte.
    at: usize,
    /// The index in the reference table.
    slot: Option<usize>,
    /// The index of the first part in [`MarshalReader::parts`].
    first_part: usize,
    /// The index of the first number in [`MarshalReader::numbers`].
    first_number: usize,
    /// The number of parts left; for code, of fields.
    left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Composite {
    Tuple,
    Frozenset,
    Slice,
    Code,
}

impl<'a> MarshalReader<'a> {
    fn run(&mut self) -> Result<Id, MarshalError> {
        let mut complete = self.value()?;
        loop {
            if let Some(id) = complete {
                let Some(open) = self.open.last_mut() else { return Ok(id) };
                self.parts.push(id);
                open.left = open.left.saturating_sub(1);
                self.numbers()?;
            }
            complete = if self.open.last().is_some_and(|open| open.left == 0) {
                self.close()?
            } else {
                self.value()?
            };
        }
    }

    /// Reads a value: returns one without parts, opens one with parts.
    fn value(&mut self) -> Result<Option<Id>, MarshalError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(MarshalError::TooDeep(MAX_DEPTH));
        }
        let at = self.at;
        let code = self.byte()?;
        let kind = code & !FLAG_REF;
        // The four singletons are never in the reference table, flag or not.
        let value = match kind {
            b'N' => return self.values.add(Value::None).map(Some),
            b'F' => return self.values.add(Value::False).map(Some),
            b'T' => return self.values.add(Value::True).map(Some),
            b'.' => return self.values.add(Value::Ellipsis).map(Some),
            b'r' => return self.reference(at).map(Some),
            b'i' => Value::Int(self.number()?.cast_signed()),
            b'l' => self.long(at)?,
            b'g' => Value::Float(self.array()?),
            b'y' => Value::Complex(self.array()?),
            b's' => Value::Bytes(self.sized()?),
            b'z' | b'Z' => {
                let length = self.byte()?;
                ascii(self.take(usize::from(length))?, at)?
            }
            b'a' | b'A' => ascii(self.sized()?, at)?,
            b'u' | b't' => text(self.sized()?, at)?,
            b')' => {
                let length = usize::from(self.byte()?);
                return self.open(Composite::Tuple, code, at, length);
            }
            b'(' => {
                let length = self.length(1)?;
                return self.open(Composite::Tuple, code, at, length);
            }
            b'>' => {
                let length = self.length(1)?;
                return self.open(Composite::Frozenset, code, at, length);
            }
            b':' if self.format.slices == Slices::Known => {
                return self.open(Composite::Slice, code, at, 3);
            }
            b'c' => return self.open(Composite::Code, code, at, self.format.fields.len()),
            _ => return Err(MarshalError::Type { kind: code, at }),
        };
        let id = self.values.add(value)?;
        if code & FLAG_REF != 0 {
            self.refs.push(Some(id));
        }
        Ok(Some(id))
    }

    fn open(
        &mut self,
        kind: Composite,
        code: u8,
        at: usize,
        left: usize,
    ) -> Result<Option<Id>, MarshalError> {
        // Python numbers a value when it begins, before its parts.
        let slot = (code & FLAG_REF != 0).then(|| {
            self.refs.push(None);
            self.refs.len() - 1
        });
        // A length may be wrong, so no memory is reserved for it.
        let (first_part, first_number) = (self.parts.len(), self.numbers.len());
        self.open.push(OpenValue { kind, at, slot, first_part, first_number, left });
        self.numbers()?;
        Ok(None)
    }

    /// Reads the next numbers of the innermost code object.
    fn numbers(&mut self) -> Result<(), MarshalError> {
        loop {
            let Some(open) = self.open.last() else { return Ok(()) };
            if open.kind != Composite::Code {
                return Ok(());
            }
            let next = self.format.fields.len().saturating_sub(open.left);
            if self.format.fields.get(next) != Some(&Field::Number) {
                return Ok(());
            }
            let number = self.number()?;
            if let Some(open) = self.open.last_mut() {
                self.numbers.push(number);
                open.left -= 1;
            }
        }
    }

    /// Completes the innermost value.
    fn close(&mut self) -> Result<Option<Id>, MarshalError> {
        let Some(open) = self.open.pop() else { return Ok(None) };
        let parts = self.parts.get(open.first_part..).unwrap_or_default();
        let id = match open.kind {
            Composite::Tuple => self.values.add(Value::Tuple(parts.into()))?,
            Composite::Slice => self.values.add(Value::Slice(parts.into()))?,
            Composite::Frozenset => self.values.add_frozenset(parts.to_vec())?,
            Composite::Code => {
                let mut values = parts.to_vec();
                self.check_code(&mut values, open.at)?;
                let numbers = self.numbers.split_off(open.first_number);
                self.values.add(Value::Code(Box::new(Code { numbers, values })))?
            }
        };
        self.parts.truncate(open.first_part);
        if let Some(slot) = open.slot.and_then(|slot| self.refs.get_mut(slot)) {
            *slot = Some(id);
        }
        Ok(Some(id))
    }

    /// Checks the type of each field, and replaces the file name.
    fn check_code(&self, values: &mut [Id], at: usize) -> Result<(), MarshalError> {
        let is_text = |id: &Id| matches!(self.values.get(*id), Some(Value::Text(_)));
        let fields = self.format.fields.iter().filter(|field| **field != Field::Number);
        for (field, id) in fields.zip(values) {
            let value = self.values.get(*id);
            let fits = match field {
                Field::Number => true,
                Field::Bytes => matches!(value, Some(Value::Bytes(_))),
                Field::Constants => matches!(value, Some(Value::Tuple(_))),
                Field::Names => matches!(value, Some(Value::Tuple(names)) if names.iter().all(is_text)),
                Field::Name => is_text(id),
                Field::FileName => {
                    let fits = is_text(id);
                    *id = self.filename;
                    fits
                }
            };
            if !fits {
                return Err(MarshalError::Value { expected: "code object", at });
            }
        }
        Ok(())
    }

    fn reference(&mut self, at: usize) -> Result<Id, MarshalError> {
        let index = self.number()?;
        let slot = usize::try_from(index).ok().and_then(|index| self.refs.get(index));
        match slot {
            None => Err(MarshalError::Reference { index, at }),
            Some(None) => Err(MarshalError::Cycle(at)),
            Some(Some(id)) => Ok(*id),
        }
    }

    /// Reads an integer in digits of 15 bits. An integer of at most 32 bits gives the same value as
    /// in the short form.
    fn long(&mut self, at: usize) -> Result<Value<'a>, MarshalError> {
        let broken = MarshalError::Value { expected: "integer", at };
        let count = self.number()?.cast_signed();
        let sign = if count < 0 { Sign::Minus } else { Sign::Plus };
        let length = usize::try_from(count.unsigned_abs()).ok().and_then(|count| count.checked_mul(2));
        let digits = self.take(length.ok_or_else(|| broken.clone())?)?;
        let (pairs, _) = digits.as_chunks::<2>();
        let mut value = Some(0_u64);
        for pair in pairs.iter().rev() {
            let digit = u16::from_le_bytes(*pair);
            if digit > 0x7fff || (value == Some(0) && digit == 0) {
                return Err(broken);
            }
            value = value.and_then(|value| value.checked_mul(1 << 15)).map(|value| value | u64::from(digit));
        }
        let value = value.and_then(|value| i64::try_from(value).ok());
        let value = value.map(|value| if sign == Sign::Minus { -value } else { value });
        Ok(match value.and_then(|value| i32::try_from(value).ok()) {
            Some(small) => Value::Int(small),
            None => Value::Long { sign, digits },
        })
    }

    fn byte(&mut self) -> Result<u8, MarshalError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u32, MarshalError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads a length of elements with at least `each` bytes, all of which must be present.
    fn length(&mut self, each: usize) -> Result<usize, MarshalError> {
        let at = self.at;
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        match length.checked_mul(each) {
            Some(bytes) if bytes <= self.bytes.len() - self.at => Ok(length),
            _ => Err(MarshalError::Truncated(at)),
        }
    }

    fn sized(&mut self) -> Result<&'a [u8], MarshalError> {
        let length = self.length(1)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MarshalError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or(MarshalError::Truncated(self.at))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MarshalError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(MarshalError::Truncated(self.at))?;
        self.at += N;
        Ok(*array)
    }
}

fn ascii(bytes: &[u8], at: usize) -> Result<Value<'_>, MarshalError> {
    if bytes.is_ascii() {
        Ok(Value::Text(bytes))
    } else {
        Err(MarshalError::Value { expected: "string", at })
    }
}

/// Checks UTF-8 with lone surrogates (Python's `surrogatepass`).
fn text(bytes: &[u8], at: usize) -> Result<Value<'_>, MarshalError> {
    let mut rest = bytes;
    while let Err(error) = std::str::from_utf8(rest) {
        let bad = rest.get(error.valid_up_to()..).unwrap_or_default();
        rest = match bad {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..] => rest,
            _ => return Err(MarshalError::Value { expected: "string", at }),
        };
    }
    Ok(Value::Text(bytes))
}
