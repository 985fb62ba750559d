//! The values of marshalled code, each stored once.
//!
//! Equal values (same type, same content; `1`, `1.0` and `True` are three) share one [`Id`]. So
//! decisions that Python's marshal makes by object identity are made by value, a stream with
//! references that unfold into billions of values stays as small as before, and a comparison of two
//! values visits only their differences.

use std::cmp::Ordering;

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::error::MarshalError;

/// The index of a value in [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    /// Returns the index in a table of all values.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value. Bytes are borrowed from the stream.
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
        /// The sign.
        sign: Sign,
        /// Digits of 15 bits, in two bytes each, the lowest first.
        digits: &'a [u8],
    },
    /// The bits of a double, so that `0.0` and `-0.0` differ and a NaN equals itself.
    Float([u8; 8]),
    /// The bits of real and imaginary part.
    Complex([u8; 16]),
    /// A string, in UTF-8 with possible surrogates.
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

/// A code object: the fields of its format, with numbers and values separated.
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
    /// Ordered by insertion, independent of the hashes.
    set: IndexSet<Value<'a>, RandomState>,
    /// The comparison steps left; 0 if exhausted.
    budget: u64,
}

/// The comparison steps for each byte of the stream. Real code needs less than one.
const BUDGET_PER_BYTE: u64 = 64;

impl<'a> Values<'a> {
    /// Creates an empty table for a stream of `length` bytes.
    pub(super) fn new(length: usize) -> Self {
        Self {
            set: IndexSet::with_capacity_and_hasher(length / 48, RandomState::default()),
            budget: (length as u64 + 1024) * BUDGET_PER_BYTE,
        }
    }

    /// Returns the id of `value`, adding the value if new.
    pub(super) fn add(&mut self, value: Value<'a>) -> Result<Id, MarshalError> {
        let (index, _) = self.set.insert_full(value);
        u32::try_from(index).map(Id).map_err(|_| MarshalError::TooLarge(index))
    }

    /// Adds the frozenset of `elements`. The order follows from the elements alone; Python's
    /// follows from hashes, which differ between processes.
    pub(super) fn add_frozenset(&mut self, mut elements: Vec<Id>) -> Result<Id, MarshalError> {
        let mut budget = self.budget;
        elements.sort_unstable_by(|a, b| self.compare(*a, *b, &mut budget));
        self.budget = budget;
        if budget == 0 {
            return Err(MarshalError::TooIntricate);
        }
        elements.dedup();
        self.add(Value::Frozenset(elements.into()))
    }

    /// Returns the value with this id. Ids of another table may be absent.
    pub(super) fn get(&self, id: Id) -> Option<&Value<'a>> {
        self.set.get_index(id.index())
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// Returns the nesting depth of `id`, at least 1.
    pub(super) fn depth(&self, id: Id) -> usize {
        let mut depths: Vec<usize> = Vec::with_capacity(self.len());
        // Parts precede the value that contains them.
        for value in self.set.iter().take(id.index() + 1) {
            let parts = value.children().iter().filter_map(|part| depths.get(part.index()));
            let below = parts.max().copied().unwrap_or(0);
            depths.push(below + 1);
        }
        depths.last().copied().unwrap_or(0)
    }

    /// Orders by type, then by content. Any total order of the values would do. The loop descends
    /// only at the first difference, so no recursion is needed.
    fn compare(&self, mut a: Id, mut b: Id, budget: &mut u64) -> Ordering {
        while a != b {
            let (Some(left), Some(right)) = (self.get(a), self.get(b)) else { break };
            let order = left.rank().cmp(&right.rank()).then_with(|| left.compare_content(right));
            let (ours, theirs) = (left.children(), right.children());
            let same = ours.iter().zip(theirs).take_while(|(x, y)| x == y).count();
            *budget = budget.saturating_sub(1 + same as u64);
            if order.is_ne() || *budget == 0 {
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
    /// Returns the contained values, in order.
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

    /// Compares two values of one type without their contained values.
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
