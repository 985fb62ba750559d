//! Package sources in both formats, settings of apt, passwords of mirrors. No panic.

#![no_main]

use debian_archive::configuration::AptConfiguration;
use debian_archive::credentials::MirrorCredentials;
use debian_archive::sources::{Source, SourcesFormat, shown};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for format in [SourcesFormat::OneLine, SourcesFormat::Deb822] {
        for source in format.parse(text).unwrap_or_default() {
            assert!(!source.uris.is_empty() && !source.suites.is_empty(), "{source:?}");
            assert!(source.line <= text.lines().count(), "{source:?}");
            let _ = source.serves("amd64");
            for uri in &source.uris {
                let _ = shown(uri);
            }
        }
    }
    let _ = Source::parse_line(text);
    let mut settings = AptConfiguration::default();
    settings.add(text);
    let _ = (settings.get("Acquire::http::Proxy"), settings.below("Acquire").count());
    for credentials in MirrorCredentials::parse(text) {
        let _ = credentials.is_of("https://deb.example/debian");
    }
});
