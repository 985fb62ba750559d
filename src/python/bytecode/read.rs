//! Reads marshalled code: the subset of CPython's `Python/marshal.c` (versions 2 to 6) that compilers
//! write.
//!
//! Mutable values (lists, dicts, sets), numbers as text and the like never stand in a code object that
//! a compiler made; they are refused rather than guessed at. The reader keeps its own stack, so depth
//! costs no stack of the thread, and it allocates nothing that the input did not already pay for with
//! bytes.

use super::error::MarshalError;
use super::magic::{Field, Format, Slices};
use super::value::{Code, Id, Sign, Value, Values};

/// How deep values may be nested: `MAX_MARSHAL_STACK_DEPTH`. Python reads nothing deeper.
pub(super) const MAX_DEPTH: usize = 2000;

/// The largest stream that is read, in bytes. The largest modules there are have a hundredth.
const MAX_BYTES: usize = 256 << 20;

/// Flag of a value that later references can mean.
pub(super) const FLAG_REF: u8 = 0x80;

/// Reads one code object that fills `bytes`. All code in it gets `filename` as its file name.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    format: &'static Format,
    filename: &'a str,
) -> Result<(Values<'a>, Id), MarshalError> {
    if bytes.len() > MAX_BYTES {
        return Err(MarshalError::TooLarge(bytes.len()));
    }
    let mut values = Values::new(bytes.len());
    let filename = values.add(Value::Text(filename.as_bytes()))?;
    let mut reader = Reader {
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
        return Err(MarshalError::Value { what: "module: it is not code", at: 0 });
    }
    if reader.at != bytes.len() {
        return Err(MarshalError::Trailing(reader.at));
    }
    Ok((reader.values, root))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    format: &'static Format,
    values: Values<'a>,
    filename: Id,
    /// What references can mean; none for a value that is not complete yet.
    refs: Vec<Option<Id>>,
    /// The values that are not complete yet, outermost first.
    open: Vec<Open>,
    /// Their parts so far, those of the innermost last. One stack for all of them spares each the memory of its own.
    parts: Vec<Id>,
    /// The same of their numbers.
    numbers: Vec<u32>,
}

/// A value whose parts are being read.
struct Open {
    kind: Composite,
    /// Where it began.
    at: usize,
    /// Its place among the references.
    slot: Option<usize>,
    /// Where its parts begin.
    first_part: usize,
    /// Where its numbers begin.
    first_number: usize,
    /// Parts that are still to come; for code the fields that are.
    left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Composite {
    Tuple,
    Frozenset,
    Slice,
    Code,
}

impl<'a> Reader<'a> {
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

    /// Reads a value without parts and gives it, or opens one with parts.
    fn value(&mut self) -> Result<Option<Id>, MarshalError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(MarshalError::TooDeep(MAX_DEPTH));
        }
        let at = self.at;
        let code = self.byte()?;
        let kind = code & !FLAG_REF;
        // The four values that exist once are never kept, flag or not.
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
        // Python counts a value when it begins: its number is before those of its parts.
        let slot = (code & FLAG_REF != 0).then(|| {
            self.refs.push(None);
            self.refs.len() - 1
        });
        // A length may lie, so nothing is reserved for it.
        let (first_part, first_number) = (self.parts.len(), self.numbers.len());
        self.open.push(Open { kind, at, slot, first_part, first_number, left });
        self.numbers()?;
        Ok(None)
    }

    /// Reads the numbers that come next in the innermost code object.
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

    /// Checks that each field is of its type, and puts the file name in its place.
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
                return Err(MarshalError::Value { what: "code object", at });
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

    /// An integer in digits of 15 bits. One that fits in 32 bits is the same value as if it had
    /// been written as such.
    fn long(&mut self, at: usize) -> Result<Value<'a>, MarshalError> {
        let broken = MarshalError::Value { what: "integer", at };
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

    /// A length of things that take at least `each` bytes each, which must be there.
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
    if bytes.is_ascii() { Ok(Value::Text(bytes)) } else { Err(MarshalError::Value { what: "string", at }) }
}

/// UTF-8 in which single surrogates may stand (Python's `surrogatepass`).
fn text(bytes: &[u8], at: usize) -> Result<Value<'_>, MarshalError> {
    let mut rest = bytes;
    while let Err(error) = std::str::from_utf8(rest) {
        let bad = rest.get(error.valid_up_to()..).unwrap_or_default();
        rest = match bad {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..] => rest,
            _ => return Err(MarshalError::Value { what: "string", at }),
        };
    }
    Ok(Value::Text(bytes))
}
