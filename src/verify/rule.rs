//! [`VerifyRule`]: the rules of a verification, with their names and severities.

use serde::Serialize;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifySeverity {
    /// The image is damaged, or runtimes fail to unpack or start it.
    Error,
    /// Readers of images treat this differently.
    Warning,
    /// Unusual, and without effect on a container.
    Note,
}

impl VerifySeverity {
    /// Returns the severity in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

macro_rules! rules {
    ($($(#[doc = $about:literal])+ $variant:ident $name:literal $severity:ident,)+) => {
        /// A rule of a verification. The names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum VerifyRule {
            $($(#[doc = $about])+ $variant,)+
        }

        impl VerifyRule {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Returns the severity of findings.
            pub fn severity(self) -> VerifySeverity {
                match self { $(Self::$variant => VerifySeverity::$severity,)+ }
            }
        }
    };
}

rules! {
    /// `oci-layout` is missing, invalid or of another version.
    LayoutMarker "layout-marker" Error,
    /// `index.json` is missing or invalid.
    LayoutIndex "layout-index" Error,
    /// `index.json` differs from the digest in its annotation.
    IndexDamaged "index-damaged" Error,
    /// `index.json` was edited by another program since ipo-oci wrote it.
    IndexEdited "index-edited" Note,
    /// A name of an image is invalid, ambiguous or contradicts another.
    ImageName "image-name" Warning,
    /// A file or member cannot be read.
    Unreadable "unreadable" Error,
    /// A descriptor lacks a property, or has an invalid one.
    Descriptor "descriptor" Error,
    /// A referenced blob is missing.
    MissingBlob "missing-blob" Error,
    /// A layer or manifest is missing, and the layout may omit it.
    OmittedBlob "omitted-blob" Note,
    /// A blob has another size than its descriptor.
    BlobSize "blob-size" Error,
    /// A blob has another digest than its descriptor or file name.
    BlobDigest "blob-digest" Error,
    /// No image of the layout references a blob.
    UnreferencedBlob "unreferenced-blob" Note,
    /// A file does not belong to a layout.
    UnknownFile "unknown-file" Note,
    /// A manifest, an index or a configuration is invalid.
    Document "document" Error,
    /// A media type contradicts another, or the content.
    MediaType "media-type" Error,
    /// A media type is unknown.
    UnknownMediaType "unknown-media-type" Warning,
    /// A manifest mixes Docker's media types and OCI's.
    MixedMediaTypes "mixed-media-types" Warning,
    /// A layer may be available only from its `urls`.
    ForeignLayer "foreign-layer" Note,
    /// Two images of an index have the same platform.
    DuplicatePlatform "duplicate-platform" Warning,
    /// The platform of a descriptor differs from the configuration's.
    Platform "platform" Error,
    /// The subject of a manifest is missing.
    MissingSubject "missing-subject" Warning,
    /// Manifest and configuration have different numbers of layers.
    LayerCount "layer-count" Error,
    /// An uncompressed layer has another digest than the configuration's diff ID.
    DiffId "diff-id" Error,
    /// The history does not fit the layers.
    History "history" Warning,
    /// A compressed layer is invalid.
    Compression "compression" Error,
    /// The archive of a layer is invalid.
    Archive "archive" Error,
    /// A layer exceeds a limit of the verification.
    Limit "limit" Error,
    /// A layer ends without the two empty records of an archive.
    EndOfArchive "end-of-archive" Warning,
    /// Bytes follow the end of an archive.
    TrailingData "trailing-data" Warning,
    /// Bytes other than zero pad a member.
    Padding "padding" Note,
    /// A name leads out of the image.
    UnsafePath "unsafe-path" Error,
    /// A name begins with a slash.
    AbsolutePath "absolute-path" Warning,
    /// A name is not UTF-8.
    NotUtf8 "not-utf8" Warning,
    /// A path occurs twice in a layer.
    DuplicatePath "duplicate-path" Warning,
    /// A hard link to nothing, or to a directory.
    HardLink "hard-link" Error,
    /// A hard link to a file of a lower layer.
    HardLinkBelow "hard-link-below" Warning,
    /// A member below a path that is not a directory.
    NotADirectory "not-a-directory" Error,
    /// A member below a symbolic link.
    BelowLink "below-link" Warning,
    /// A malformed whiteout.
    Whiteout "whiteout" Warning,
    /// A whiteout of a path that the layers below lack.
    WhiteoutOfNothing "whiteout-of-nothing" Note,
    /// A device or a named pipe.
    Device "device" Warning,
    /// A member of an unknown type.
    MemberType "member-type" Error,
    /// An extended header is malformed or without a member.
    ExtendedHeader "extended-header" Warning,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_rule_with_its_severity() {
        let page = include_str!("../../docs/verify.md");
        for rule in VerifyRule::ALL {
            let row = format!("| `{}` | {} |", rule.name(), rule.severity().as_str());
            assert!(page.contains(&row), "{row}");
        }
    }
}
