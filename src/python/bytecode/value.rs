//! The values of marshalled code, each held once.
//!
//! Two values that are the same (same type, same content; `1`, `1.0` and `True` are three) have one
//! [`Id`]. So what Python's marshal decides by the identity of objects is decided here by value, a
//! stream whose references unfold into billions of values stays as small as it was, and comparing two
//! values looks only at where they differ.

use std::cmp::Ordering;

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::error::MarshalError;

/// Which value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    /// Its place in a table of all values.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value. Bytes are those of the stream it was read from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Value<'a> {
    /// `None`
    None,
    /// `False`
    False,
    /// `True`
    True,
    /// `...`
    Ellipsis,
    /// An integer of 32 bits.
    Int(i32),
    /// A larger integer.
    Long {
        /// Its sign.
        sign: Sign,
        /// Digits of 15 bits, in two bytes each, the lowest first.
        digits: &'a [u8],
    },
    /// The bits of a double, so that `0.0` is not `-0.0` and a NaN is itself.
    Float([u8; 8]),
    /// The bits of real and imaginary part.
    Complex([u8; 16]),
    /// A string, in UTF-8 that may hold surrogates.
    Text(&'a [u8]),
    /// `b"…"`
    Bytes(&'a [u8]),
    /// `(…)`
    Tuple(Box<[Id]>),
    /// `frozenset(…)`, ordered by [`Values::compare`].
    Frozenset(Box<[Id]>),
    /// `slice(start, stop, step)`
    Slice(Box<[Id]>),
    /// A code object.
    Code(Box<Code>),
}

/// The sign of a large integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sign {
    /// Below zero.
    Minus,
    /// Above zero.
    Plus,
}

/// A code object: the fields of its format, numbers and values apart.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Code {
    /// The numbers, in the order of the fields.
    pub(super) numbers: Vec<u32>,
    /// The values, in the order of the fields.
    pub(super) values: Vec<Id>,
}

/// All values of one stream.
#[derive(Debug, Default)]
pub(super) struct Values<'a> {
    /// In the order of insertion, whatever the hashes are.
    set: IndexSet<Value<'a>, RandomState>,
    /// Steps that comparing may still take; 0 once it took too many.
    patience: u64,
}

/// How many steps of comparison a byte of the stream allows. Real code needs less than one.
const PATIENCE: u64 = 64;

impl<'a> Values<'a> {
    /// No values yet, for a stream of `length` bytes.
    pub(super) fn new(length: usize) -> Self {
        Self {
            set: IndexSet::with_capacity_and_hasher(length / 48, RandomState::default()),
            patience: (length as u64 + 1024) * PATIENCE,
        }
    }

    /// The one place of `value`.
    pub(super) fn add(&mut self, value: Value<'a>) -> Result<Id, MarshalError> {
        let (index, _) = self.set.insert_full(value);
        u32::try_from(index).map(Id).map_err(|_| MarshalError::TooLarge(index))
    }

    /// The frozenset of `elements`. Its order follows from the elements alone, where Python's
    /// follows from hashes, which are another in every process.
    pub(super) fn add_frozenset(&mut self, mut elements: Vec<Id>) -> Result<Id, MarshalError> {
        let mut patience = self.patience;
        elements.sort_unstable_by(|a, b| self.compare(*a, *b, &mut patience));
        self.patience = patience;
        if patience == 0 {
            return Err(MarshalError::TooIntricate);
        }
        elements.dedup();
        self.add(Value::Frozenset(elements.into()))
    }

    /// What has this id. Ids of another set may have none here.
    pub(super) fn get(&self, id: Id) -> Option<&Value<'a>> {
        self.set.get_index(id.index())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// How deep the values that `id` holds are nested at most, itself included.
    pub(super) fn depth(&self, id: Id) -> usize {
        let mut depths: Vec<usize> = Vec::with_capacity(self.len());
        // Parts stand before what holds them.
        for value in self.set.iter().take(id.index() + 1) {
            let parts = value.children().iter().filter_map(|part| depths.get(part.index()));
            let below = parts.max().copied().unwrap_or(0);
            depths.push(below + 1);
        }
        depths.last().copied().unwrap_or(0)
    }

    /// Orders by type, then by content. Any total order would do that depends on nothing but the
    /// values. It goes down only where two values differ first, so it needs no recursion.
    fn compare(&self, mut a: Id, mut b: Id, patience: &mut u64) -> Ordering {
        while a != b {
            let (Some(left), Some(right)) = (self.get(a), self.get(b)) else { break };
            let order = left.rank().cmp(&right.rank()).then_with(|| left.compare_content(right));
            let (ours, theirs) = (left.children(), right.children());
            let same = ours.iter().zip(theirs).take_while(|(x, y)| x == y).count();
            *patience = patience.saturating_sub(1 + same as u64);
            if order.is_ne() || *patience == 0 {
                return order;
            }
            match (ours.get(same), theirs.get(same)) {
                (Some(x), Some(y)) => (a, b) = (*x, *y),
                (x, y) => return x.is_some().cmp(&y.is_some()),
            }
        }
        Ordering::Equal
    }
}

impl Value<'_> {
    /// The values that it holds, in their order.
    pub(super) fn children(&self) -> &[Id] {
        match self {
            Self::Tuple(items) | Self::Frozenset(items) | Self::Slice(items) => items,
            Self::Code(code) => &code.values,
            _ => &[],
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::False => 1,
            Self::True => 2,
            Self::Ellipsis => 3,
            Self::Int(_) => 4,
            Self::Long { .. } => 5,
            Self::Float(_) => 6,
            Self::Complex(_) => 7,
            Self::Text(_) => 8,
            Self::Bytes(_) => 9,
            Self::Tuple(_) => 10,
            Self::Frozenset(_) => 11,
            Self::Slice(_) => 12,
            Self::Code(_) => 13,
        }
    }

    /// Compares two values of one type without what they hold.
    fn compare_content(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Long { sign: a, digits: x }, Self::Long { sign: b, digits: y }) => {
                (a, x.len(), x).cmp(&(b, y.len(), y))
            }
            (Self::Float(a), Self::Float(b)) => a.cmp(b),
            (Self::Complex(a), Self::Complex(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Code(a), Self::Code(b)) => a.numbers.cmp(&b.numbers),
            _ => Ordering::Equal,
        }
    }
}
