//! Wire format of a record in a remote cache: versioned JSON, readable by other programs.
//!
//! ```json
//! {"archive_size":7,"diff_id":"sha256:…","digest":"sha256:…","key":"sha256:…","name":"numpy","size":5,"version":1,
//!  "owners":[{"kind":"distribution","name":"numpy","version":"2.0","bytes":7,"bytecode":0,"files":1}]}
//! ```

use serde::{Deserialize, Serialize};

use crate::cache::Record;
use crate::digest::Digest;
use crate::tree::{OwnedBytes, Owner};

/// Limit for a record, in bytes.
pub(super) const RECORD_BYTES: u64 = 1 << 20;
/// The version; other versions are ignored. Raise when a field changes its meaning.
const VERSION: u32 = 1;

/// The field to check before the rest is decoded.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct RecordJson {
    version: u32,
    key: Digest,
    name: String,
    digest: Digest,
    size: u64,
    diff_id: Digest,
    archive_size: u64,
    owners: Vec<OwnedBytesJson>,
}

#[derive(Serialize, Deserialize)]
struct OwnedBytesJson {
    #[serde(flatten)]
    owner: OwnerJson,
    bytes: u64,
    bytecode: u64,
    files: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum OwnerJson {
    Distribution { name: String, version: String },
    Package { name: String, version: String },
    Interpreter,
    Environment,
    Source,
    System,
    Extra { layer: String },
}

/// Encodes the record of the layer `key`.
pub(super) fn to_json(key: &Digest, record: &Record) -> Result<Vec<u8>, serde_json::Error> {
    let json = RecordJson {
        version: VERSION,
        key: *key,
        name: record.name.clone(),
        digest: record.digest,
        size: record.size,
        diff_id: record.diff_id,
        archive_size: record.archive_size,
        owners: record.owners.iter().map(OwnedBytesJson::of).collect(),
    };
    let mut json = serde_json::to_value(&json)?;
    json.sort_all_objects();
    serde_json::to_vec(&json)
}

/// Decodes a record; `None` if invalid, of another version or for another key.
pub(super) fn from_json(key: &Digest, bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice::<Versioned>(bytes).ok().filter(|json| json.version == VERSION)?;
    let json: RecordJson = serde_json::from_slice(bytes).ok().filter(|json: &RecordJson| json.key == *key)?;
    Some(Record {
        name: json.name,
        digest: json.digest,
        size: json.size,
        diff_id: json.diff_id,
        archive_size: json.archive_size,
        owners: json.owners.into_iter().map(OwnedBytesJson::into_owned).collect(),
    })
}

impl OwnedBytesJson {
    fn of(owned: &OwnedBytes) -> Self {
        let owner = match &owned.owner {
            Owner::Distribution { name, version } => {
                OwnerJson::Distribution { name: name.to_string(), version: version.to_string() }
            }
            Owner::Package { name, version } => {
                OwnerJson::Package { name: name.to_string(), version: version.to_string() }
            }
            Owner::Interpreter => OwnerJson::Interpreter,
            Owner::Environment => OwnerJson::Environment,
            Owner::Source => OwnerJson::Source,
            Owner::System => OwnerJson::System,
            Owner::Extra { layer } => OwnerJson::Extra { layer: layer.to_string() },
        };
        Self { owner, bytes: owned.bytes, bytecode: owned.bytecode, files: owned.files }
    }

    fn into_owned(self) -> OwnedBytes {
        let owner = match self.owner {
            OwnerJson::Distribution { name, version } => {
                Owner::Distribution { name: name.into(), version: version.into() }
            }
            OwnerJson::Package { name, version } => {
                Owner::Package { name: name.into(), version: version.into() }
            }
            OwnerJson::Interpreter => Owner::Interpreter,
            OwnerJson::Environment => Owner::Environment,
            OwnerJson::Source => Owner::Source,
            OwnerJson::System => Owner::System,
            OwnerJson::Extra { layer } => Owner::Extra { layer: layer.into() },
        };
        OwnedBytes { owner, bytes: self.bytes, bytecode: self.bytecode, files: self.files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let owned = |owner| OwnedBytes { owner, bytes: 7, bytecode: 2, files: 1 };
        let named = |name: &str| (name.into(), "2.0".into());
        let ((name, version), (package, of)) = (named("numpy"), named("libssl3"));
        Record {
            name: "numpy".to_owned(),
            digest: Digest::of(b"blob"),
            size: 4,
            diff_id: Digest::of(b"archive"),
            archive_size: 7,
            owners: vec![
                owned(Owner::Distribution { name, version }),
                owned(Owner::Package { name: package, version: of }),
                owned(Owner::Interpreter),
                owned(Owner::Environment),
                owned(Owner::Source),
                owned(Owner::System),
                owned(Owner::Extra { layer: "models".into() }),
            ],
        }
    }

    #[test]
    fn a_record_survives_a_round_trip() {
        let key = Digest::of(b"key");
        let bytes = to_json(&key, &record()).unwrap();
        assert_eq!(from_json(&key, &bytes), Some(record()));
        assert_eq!(from_json(&Digest::of(b"other"), &bytes), None);
    }

    #[test]
    fn unknown_fields_and_other_versions_are_ignored() {
        let key = Digest::of(b"key");
        let with = |field: &str, value: serde_json::Value| {
            let bytes = to_json(&key, &record()).unwrap();
            let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            json[field] = value;
            from_json(&key, json.to_string().as_bytes())
        };
        assert_eq!(with("new", "x".into()), Some(record()));
        for (field, value) in [
            ("version", 2.into()),
            ("version", "1".into()),
            ("digest", "sha256:1".into()),
            ("size", (-1).into()),
            ("owners", serde_json::json!([{ "kind": "unheard of", "bytes": 1, "bytecode": 1, "files": 1 }])),
        ] {
            assert_eq!(with(field, value.clone()), None, "{field} {value}");
        }
        for bytes in ["", "{", "[]", "null", r#"{"version":1}"#] {
            assert_eq!(from_json(&key, bytes.as_bytes()), None);
        }
    }
}
