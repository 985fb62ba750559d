//! Tests of the canonical form, on streams written by hand.

use proptest::prelude::*;

use super::error::MarshalError;
use super::header::unchecked;
use super::magic::{Field, PycFormat};
use super::{canonicalize, header};

const HASH: [u8; 8] = *b"\x01\x02\x03\x04\x05\x06\x07\x08";

fn format(minor: u8) -> &'static PycFormat {
    PycFormat::of_version((3, minor)).unwrap()
}

fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_le_bytes()
}

fn tuple(items: &[&[u8]]) -> Vec<u8> {
    [&[b')', u8::try_from(items.len()).unwrap()], &*items.concat()].concat()
}

fn frozenset(items: &[&[u8]]) -> Vec<u8> {
    [&b">"[..], &number(items.len())[..], &items.concat()].concat()
}

fn short(kind: u8, text: &str) -> Vec<u8> {
    [&[kind, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn long(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], &number(bytes.len())[..], bytes].concat()
}

fn int(value: i32) -> Vec<u8> {
    [&b"i"[..], &value.to_le_bytes()[..]].concat()
}

fn float(value: f64) -> Vec<u8> {
    [&b"g"[..], &value.to_le_bytes()[..]].concat()
}

fn complex(real: f64, imaginary: f64) -> Vec<u8> {
    [&b"y"[..], &real.to_le_bytes()[..], &imaginary.to_le_bytes()].concat()
}

fn reference(index: usize) -> Vec<u8> {
    [&b"r"[..], &number(index)[..]].concat()
}

/// Returns code with these constants and names, and all other fields empty.
fn code(minor: u8, constants: &[u8], names: &[u8], filename: &[u8]) -> Vec<u8> {
    let mut out = vec![b'c'];
    let mut tuples = 0;
    for field in format(minor).fields {
        match field {
            Field::Number => out.extend_from_slice(&[0; 4]),
            Field::Bytes => out.extend_from_slice(b"s\0\0\0\0"),
            Field::Constants => out.extend_from_slice(constants),
            Field::Names => {
                tuples += 1;
                out.extend_from_slice(if tuples == 1 { names } else { b")\0" });
            }
            Field::Name => out.extend_from_slice(b"z\x08<module>"),
            Field::FileName => out.extend_from_slice(filename),
        }
    }
    out
}

/// Returns a file with this code.
fn pyc(minor: u8, code: &[u8]) -> Vec<u8> {
    [&unchecked(format(minor), HASH)[..], code].concat()
}

/// Returns the canonical form of code with these constants.
fn canonical(minor: u8, constants: &[u8]) -> Result<Vec<u8>, MarshalError> {
    let pyc = pyc(minor, &code(minor, constants, b")\0", b"z\x01f"));
    let canonical = canonicalize(&pyc, "/f", None);
    assert_eq!(super::canonical::can_be_canonical(&pyc, "/f"), canonical.is_ok());
    canonical
}

#[test]
fn the_canonical_form_is_stable() {
    // Layers in registries and caches depend on the form: a change requires another REVISION.
    let constants = tuple(&[
        &short(b'z', "a b"),
        &short(b'Z', "a b"),
        &short(b'z', "name_like"),
        &short(b'z', "used"),
        &int(300),
        &int(300),
        &int(7),
        &int(7),
        &long(b'u', "é".as_bytes()),
        b"\xa9\0",
        b")\0",
    ]);
    let names = tuple(&[&short(b'z', "used"), &long(b'u', "é".as_bytes())]);
    let file = pyc(11, &code(11, &constants, &names, &short(b'z', "/home/me/x.py")));
    let expected: &[&[u8]] = &[
        b"\xa7\x0d\r\n\x01\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08",
        b"c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"s\0\0\0\0",
        b")\x0b\xfa\x03a br\0\0\0\0Z\x09name_like\xda\x04used\xe9\x2c\x01\0\0r\x02\0\0\0",
        b"i\x07\0\0\0i\x07\0\0\0\xf4\x02\0\0\0\xc3\xa9)\0)\0",
        b")\x02r\x01\0\0\0r\x03\0\0\0",
        b")\0s\0\0\0\0z\x04/x y",
        b"\xda\x08<module>r\x04\0\0\0",
        b"\0\0\0\0s\0\0\0\0s\0\0\0\0",
    ];
    let mut expected = expected.concat();
    // The file name is interned like every name.
    let at = expected.windows(6).position(|six| six == b"z\x04/x y").unwrap();
    expected[at] = b'Z';
    assert_eq!(canonicalize(&file, "/x y", None).unwrap(), expected);
    assert_eq!(canonicalize(&expected, "/x y", None).unwrap(), expected, "it is its own canonical form");
}

#[test]
fn the_written_form_of_a_value_is_irrelevant() {
    let text = long(b'u', "é b".as_bytes());
    let pair: [&[&[u8]]; 2] = [&[&int(1), &text], &[&float(1.0), &text]];
    let flagged = |bytes: &[u8]| [&[bytes[0] | 0x80], &bytes[1..]].concat();
    let cases: &[(&str, Vec<u8>, Vec<u8>)] = &[
        ("reference flag that nothing uses", tuple(&[&flagged(&text)]), tuple(&[&text])),
        ("interned by accident", tuple(&[&long(b't', "é b".as_bytes())]), tuple(&[&text])),
        ("short and long form", tuple(&[&short(b'z', "a b")]), tuple(&[&long(b'a', b"a b")])),
        ("ASCII as Unicode", tuple(&[&short(b'Z', "ab")]), tuple(&[&long(b'u', b"ab")])),
        ("small tuple in the long form", long_tuple(&[&text]), tuple(&[&text])),
        ("small integer as digits", tuple(&[&int(-1)]), tuple(&[b"l\xff\xff\xff\xff\x01\0"])),
        ("written twice or referred to", tuple(&[&flagged(&text), &reference(0)]), tuple(&[&text, &text])),
        (
            "references to whole tuples",
            tuple(&[&flagged(&tuple(pair[0])), &reference(0)]),
            tuple(&[&tuple(pair[0]), &tuple(pair[0])]),
        ),
        (
            "numbers count from the outside",
            flagged(&tuple(&[&flagged(&text), &reference(1), &flagged(&tuple(&[])), &reference(2)])),
            tuple(&[&text, &text, &tuple(&[]), &tuple(&[])]),
        ),
        (
            "order of a set",
            tuple(&[&frozenset(&[&tuple(pair[0]), &text, &tuple(pair[1]), b"N"])]),
            tuple(&[&frozenset(&[b"N", &tuple(pair[1]), &tuple(pair[0]), &text])]),
        ),
        (
            "order of sets in a set",
            tuple(&[&frozenset(&[&frozenset(&[&int(1), &int(2)]), &frozenset(&[&int(3)])])]),
            tuple(&[&frozenset(&[&frozenset(&[&int(3)]), &frozenset(&[&int(2), &int(1)])])]),
        ),
    ];
    for (name, one, other) in cases {
        assert_eq!(canonical(13, one).unwrap(), canonical(13, other).unwrap(), "{name}");
    }
}

fn long_tuple(items: &[&[u8]]) -> Vec<u8> {
    [&b"("[..], &number(items.len())[..], &items.concat()].concat()
}

#[test]
fn equal_values_of_different_types_stay_apart() {
    let values: Vec<Vec<u8>> = vec![
        b"N".to_vec(),
        b"F".to_vec(),
        b"T".to_vec(),
        b".".to_vec(),
        int(0),
        int(1),
        b"l\x03\0\0\0\0\0\0\0\x04\0".to_vec(),
        b"l\xfd\xff\xff\xff\0\0\0\0\x04\0".to_vec(),
        float(0.0),
        float(-0.0),
        float(1.0),
        complex(0.0, 0.0),
        complex(-0.0, 0.0),
        complex(0.0, -0.0),
        short(b'z', ""),
        short(b'z', "1"),
        b"s\0\0\0\0".to_vec(),
        long(b's', b"1"),
        tuple(&[]),
        tuple(&[&int(1)]),
        tuple(&[&float(1.0)]),
        tuple(&[b"T"]),
        frozenset(&[]),
        frozenset(&[&int(1)]),
        frozenset(&[&float(1.0)]),
        [b":", &int(1)[..], b"N", b"N"].concat(),
        long(b'u', "é".as_bytes()),
        long(b'u', b"\xed\xa0\x80"),
        long(b'u', b"\xed\xa0\x80\xed\xb0\x80"),
        long(b'u', "\u{10000}".as_bytes()),
    ];
    let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let out = canonical(14, &tuple(&refs)).unwrap();
    // Each occurrence is unchanged, except that names are interned and 1.0 is shared.
    let mut shared = float(1.0);
    shared[0] |= 0x80;
    let written: Vec<Vec<u8>> = refs
        .iter()
        .map(|value| match value {
            [b'z', rest @ ..] => [b"Z", rest].concat(),
            [b'g', 0, 0, 0, 0, 0, 0, 0xf0, 0x3f] => shared.clone(),
            [head @ .., b'g', 0, 0, 0, 0, 0, 0, 0xf0, 0x3f] => [head, &reference(0)].concat(),
            value => value.to_vec(),
        })
        .collect();
    let written = written.concat();
    assert!(out.windows(written.len()).any(|window| window == written));
}

#[test]
fn the_file_name_is_replaced_only_in_code_objects() {
    let old = short(b'z', "/old/x.py");
    let inner = code(12, &tuple(&[&old]), b")\0", &old);
    let outer = code(12, &tuple(&[&inner, &old]), b")\0", &old);
    let out = canonicalize(&pyc(12, &outer), "/new.py", None).unwrap();
    let count = |needle: &[u8]| out.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!((count(b"\xda\x07/new.py"), count(b"\xfa\x09/old/x.py")), (1, 1));
    assert_eq!(canonicalize(&out, "/new.py", None).unwrap(), out);
}

#[test]
fn rejects_values_that_no_compiler_writes() {
    let deep = |levels: usize| [b")\x01".repeat(levels), b"N".to_vec()].concat();
    let cases: &[(&str, Vec<u8>)] = &[
        ("a value that holds itself", b"\xa9\x01r\0\0\0\0".to_vec()),
        ("a set that holds itself", b")\x01\xbe\x01\0\0\0r\0\0\0\0".to_vec()),
        ("a reference to a later value", tuple(&[&reference(0), b"\xe9\0\0\0\0"])),
        ("a reference to an unflagged value", tuple(&[&int(1), &reference(0)])),
        ("a flag on a singleton", tuple(&[b"\xce", &reference(0)])),
        ("a list", tuple(&[b"[\0\0\0\0"])),
        ("a set", tuple(&[b"<\0\0\0\0"])),
        ("a dict", tuple(&[b"{0"])),
        ("a number as text", tuple(&[b"f\x011"])),
        ("NULL", tuple(&[b"0"])),
        ("a slice before 3.14", tuple(&[b":NNN"])),
        ("more items than bytes", b"(\xff\xff\xff\x7f".to_vec()),
        ("a negative length", b"(\xff\xff\xff\xff".to_vec()),
        ("other letters in ASCII", tuple(&[b"z\x01\xe9"])),
        ("broken UTF-8", tuple(&[&long(b'u', b"\xed\xa0")])),
        ("overlong UTF-8", tuple(&[&long(b'u', b"\xc0\x80")])),
        ("a leading zero", tuple(&[b"l\x02\0\0\0\x01\0\0\0"])),
        ("a digit of 16 bits", tuple(&[b"l\x01\0\0\0\0\x80"])),
        ("too many digits", tuple(&[b"l\0\0\0\x80"])),
        ("constants that are no tuple", int(1)),
        ("deeper than Python reads", deep(1999)),
    ];
    for (name, constants) in cases {
        assert!(canonical(13, constants).is_err(), "{name}");
    }
    assert_eq!(canonical(13, b"\xa9\x01r\0\0\0\0"), Err(MarshalError::Cycle(28)));
    canonical(13, &deep(1998)).expect("with the code and the value that is 2000");
    let whole = code(13, b")\0", b")\0", b"z\x01f");
    for end in 0..whole.len() {
        assert!(canonicalize(&pyc(13, &whole[..end]), "/f", None).is_err(), "{end}");
    }
    let longer = [&whole[..], b"N"].concat();
    assert_eq!(canonicalize(&pyc(13, &longer), "/f", None), Err(MarshalError::Trailing(whole.len())));
    assert!(canonicalize(&pyc(13, b"N"), "/f", None).is_err());
    for (names, filename) in [(&tuple(&[&int(1)])[..], &b"z\x01f"[..]), (b"N", b"z\x01f"), (b")\0", b"N")] {
        assert!(canonicalize(&pyc(13, &code(13, b")\0", names, filename)), "/f", None).is_err());
    }
    // The field order of another version.
    assert!(canonicalize(&pyc(13, &code(10, b")\0", b")\0", b"z\x01f")), "/f", None).is_err());
}

#[test]
fn a_file_with_a_time_stamp_needs_a_hash() {
    let mut file = pyc(13, &code(13, b")\0", b")\0", b"z\x01f"));
    file[4] = 0;
    assert_eq!(canonicalize(&file, "/f", None), Err(MarshalError::NoHash));
    let out = canonicalize(&file, "/f", Some(*b"12345678")).unwrap();
    assert_eq!(&out[4..header::LENGTH], b"\x01\x00\x00\x0012345678");
}

#[test]
fn references_that_unfold_into_billions_stay_small() {
    // Each level contains the previous one twice: 2^60 values, unfolded.
    let mut value = float(1.5);
    value[0] |= 0x80;
    for level in (0..60).rev() {
        value = [b"\xa9\x02", &value[..], &reference(level + 1)].concat();
    }
    let once = canonical(13, &tuple(&[&value])).unwrap();
    assert!(once.len() < 1000);
    // The same below sets, which are compared.
    let twins = [b">\x02\0\0\0", &value[..], b"\xa9\x01", &reference(0)].concat();
    assert!(canonical(13, &tuple(&[&twins])).unwrap().len() < 1000);
}

#[test]
fn rejects_sets_that_take_too_long_to_order() {
    // Many pairs with first parts that differ only far down.
    let chain = |last: i32, levels: usize| [b")\x01".repeat(levels), int(last)].concat();
    let mut items =
        vec![[b"\xa9\x01", &chain(0, 1500)[..]].concat(), [b"\xa9\x01", &chain(1, 1500)[..]].concat()];
    // The set's own number comes first.
    items.extend((0..3000).map(|n| tuple(&[&reference(1 + n % 2), &int(i32::try_from(n).unwrap())])));
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    let set = [&[0xbe], &number(items.len())[..], &items.concat()].concat();
    assert_eq!(canonical(13, &tuple(&[&set])), Err(MarshalError::TooIntricate));
}

/// A constant with more than one marshalled form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Model {
    None,
    True,
    Int(i32),
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Model>),
    Set(std::collections::BTreeSet<Model>),
}

fn model() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        Just(Model::None),
        Just(Model::True),
        (-3..400).prop_map(Model::Int),
        (0_u64..4).prop_map(Model::Float),
        "[ab é]{0,3}".prop_map(Model::Text),
        proptest::collection::vec(0_u8..3, 0..3).prop_map(Model::Bytes),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Model::Tuple),
            proptest::collection::btree_set(inner, 0..6).prop_map(Model::Set),
        ]
    })
}

/// Writes models like a compiling process, with arbitrary choices of sharing, interning and order.
struct Whimsical<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    /// Complete values available for references.
    refs: Vec<Option<Model>>,
    out: Vec<u8>,
}

impl Whimsical<'_> {
    fn choose(&mut self, choices: u8) -> usize {
        usize::from(self.choices.next().map_or(0, |choose| choose % choices))
    }

    fn write(&mut self, model: &Model) {
        let known = self.refs.iter().position(|known| known.as_ref() == Some(model));
        if let Some(index) = known
            && self.choose(3) > 0
        {
            self.out.extend(reference(index));
            return;
        }
        let flag = if self.choose(2) == 0 && !matches!(model, Model::None | Model::True) { 0x80 } else { 0 };
        let slot = self.refs.len();
        if flag != 0 {
            self.refs.push(None);
        }
        let at = self.out.len();
        match model {
            Model::None => self.out.push(b'N'),
            Model::True => self.out.push(b'T'),
            Model::Int(value) => self.out.extend(int(*value)),
            Model::Float(bits) => self.out.extend(float(f64::from_bits(*bits))),
            Model::Text(text) if text.is_ascii() => {
                let kind = [b'z', b'Z', b'u', b'a'][self.choose(4)];
                let bytes =
                    if kind < b'b' || kind == b'u' { long(kind, text.as_bytes()) } else { short(kind, text) };
                self.out.extend(if kind == b'Z' { short(b'Z', text) } else { bytes });
            }
            Model::Text(text) => {
                let kind = [b'u', b't'][self.choose(2)];
                self.out.extend(long(kind, text.as_bytes()));
            }
            Model::Bytes(bytes) => self.out.extend(long(b's', bytes)),
            Model::Tuple(items) => {
                self.out.push(b'(');
                self.out.extend(number(items.len()));
                for item in items {
                    self.write(item);
                }
            }
            Model::Set(items) => {
                self.out.push(b'>');
                self.out.extend(number(items.len()));
                let mut items: Vec<&Model> = items.iter().collect();
                let turn = self.choose(6) % items.len().max(1);
                items.rotate_left(turn);
                if self.choose(2) == 0 {
                    items.reverse();
                }
                for item in items {
                    self.write(item);
                }
            }
        }
        self.out[at] |= flag;
        if flag != 0 {
            self.refs[slot] = Some(model.clone());
        }
    }
}

fn written(model: &Model, choices: &[u8]) -> Vec<u8> {
    let mut writer = Whimsical { choices: choices.iter().cycle(), refs: Vec::new(), out: Vec::new() };
    writer.write(model);
    writer.out
}

proptest! {
    #[test]
    fn choices_of_the_writer_are_irrelevant(
        items in proptest::collection::vec(model(), 0..5),
        one in proptest::collection::vec(any::<u8>(), 1..40),
        other in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let constants = Model::Tuple(items);
        let first = canonical(11, &written(&constants, &one)).unwrap();
        prop_assert_eq!(&first, &canonical(11, &written(&constants, &other)).unwrap());
        prop_assert_eq!(canonicalize(&first, "/f", None).unwrap(), first);
    }

    #[test]
    fn different_constants_have_different_forms(one in model(), other in model()) {
        let form = |model: &Model| canonical(9, &written(&Model::Tuple(vec![model.clone()]), &[1])).unwrap();
        prop_assert_eq!(one == other, form(&one) == form(&other));
    }

    #[test]
    fn no_input_panics_or_grows(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for minor in 9..=15 {
            if let Ok(out) = canonicalize(&pyc(minor, &bytes), "/f", None) {
                prop_assert!(out.len() <= 3 * bytes.len() + 20);
            }
        }
        let _ = canonicalize(&bytes, "/f", Some(HASH));
    }

    #[test]
    fn no_damage_panics_or_grows(
        items in proptest::collection::vec(model(), 0..5),
        choices in proptest::collection::vec(any::<u8>(), 1..40),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let constants = written(&Model::Tuple(items), &choices);
        let mut file = pyc(14, &code(14, &constants, b")\0", b"z\x01f"));
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(out) = canonicalize(&file, "/f", Some(HASH)) {
            prop_assert!(out.len() <= 3 * file.len() + 20);
            prop_assert_eq!(canonicalize(&out, "/f", None).unwrap(), out);
        }
    }
}
