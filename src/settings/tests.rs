use super::*;
use crate::error::chain;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(Path::new("recipe.toml"), text).map_err(|error| chain(&error))
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let error = parse("port = 80\nprot = 80\n").unwrap_err();
    assert!(error.contains("line 2") && error.contains("prot"), "{error}");
    let error = parse("[healthcheck]\npath = \"/\"\nevery = 3\n").unwrap_err();
    assert!(error.contains("every") && error.contains("line 3"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_with_its_line() {
    for text in [
        "\nport = 70000",
        "\nport = 0",
        "\nuser = \"bob\"",
        "\nmax-size = \"12 parsec\"",
        "\nhealthcheck = 3",
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}

#[test]
fn an_unknown_key_suggests_the_nearest() {
    for (text, suggestion) in [
        ("prot = 80", "unknown key `prot`; did you mean `port`?"),
        ("max_size = '1MB'", "did you mean `max-size`?"),
        ("Workers = 3", "did you mean `workers`?"),
        ("certificate = true", "did you mean `certificates`?"),
        ("[healthcheck]\nretrys = 3", "did you mean `retries`?"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(suggestion) && !error.contains("expected one of"), "{error}");
    }
    let error = parse("colour = 'red'").unwrap_err();
    assert!(error.ends_with("unknown key `colour`"), "{error}");
}

#[test]
fn explains_quoted_numbers() {
    for (text, expected) in [
        ("workers = '3'", "a whole number from 1 to 65535, without quotes"),
        ("layers = 0", "a whole number from 1 to 65535"),
        ("graceful-timeout = -1", "a whole number of seconds from 0 to 65535"),
        ("[healthcheck]\nretries = '3'", "a whole number, without quotes"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected) && !error.contains("u16"), "{error}");
    }
}

#[test]
fn lists_replace_or_are_added_to() {
    let items = |above: &str, below: &str| {
        parse(above).unwrap().over(parse(below).unwrap()).libraries.map(List::into_items)
    };
    let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
    let below = "libraries = ['a', 'b']";
    assert_eq!(items("libraries = ['c']", below), list(&["c"]));
    assert_eq!(items("libraries = { add = ['c'] }", below), list(&["a", "b", "c"]));
    assert_eq!(items("libraries.add = ['c', 'a']", below), list(&["b", "c", "a"]));
    assert_eq!(items("", below), list(&["a", "b"]));
    assert_eq!(items("libraries.add = ['c']", ""), list(&["c"]));
    // Three levels; the order of the merges is irrelevant.
    let [one, two, three] =
        ["exclude.add = ['c']", "exclude.add = ['b']", "exclude = ['a']"].map(|text| parse(text).unwrap());
    let left = one.clone().over(two.clone()).over(three.clone());
    assert_eq!(left, one.over(two.over(three)));
    assert_eq!(left.exclude.unwrap().into_items(), ["a", "b", "c"]);
    for wrong in ["trim = { remove = ['a'] }", "trim = 'a'", "trim = [1]"] {
        let error = parse(&format!("\n{wrong}")).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}

#[test]
fn a_health_check_is_a_path_a_table_or_off() {
    let read = |text| parse(text).unwrap().healthcheck.unwrap();
    assert_eq!(read("healthcheck = \"/up\""), HealthcheckSetting::path("/up"));
    assert_eq!(read("healthcheck = false"), HealthcheckSetting::Off);
    let HealthcheckSetting::On(table) = read("[healthcheck]\ninterval = \"1m 30s\"\ntimeout = 3") else {
        panic!("it is on")
    };
    assert_eq!(table.interval.unwrap().0.as_secs(), 90);
}

#[test]
fn upper_settings_take_precedence_and_tables_merge() {
    let above = parse("port = 1\nenv.A = \"above\"\nhealthcheck = \"/a\"").unwrap();
    let below = parse("port = 2\nworkers = 3\nenv = {A = \"below\", B = \"below\"}\nhealthcheck.retries = 9")
        .unwrap();
    let both = above.over(below);
    assert_eq!(both.port.unwrap().get(), 1);
    assert_eq!(both.workers.unwrap().get(), 3);
    assert_eq!(both.env["A"], "above");
    assert_eq!(both.env["B"], "below");
    let Some(HealthcheckSetting::On(table)) = both.healthcheck else { panic!("it is on") };
    assert_eq!((table.path.as_deref(), table.retries), (Some("/a"), Some(9)));
}

#[test]
fn platforms_are_one_or_a_list() {
    let read = |text: &str| {
        let platforms = parse(text)?.platform.unwrap();
        Ok::<_, String>(platforms.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(read("platform = \"linux/aarch64\"").unwrap(), ["linux/arm64"]);
    for list in ["\"linux/amd64, linux/arm64,linux/amd64\"", "[\"linux/amd64\", \"linux/arm64\"]"] {
        assert_eq!(read(&format!("platform = {list}")).unwrap(), ["linux/amd64", "linux/arm64"]);
    }
    for wrong in ["3", "[]", "\"\"", "\"amd64\"", "\"windows/amd64\"", "[\"linux/amd64\", \"x\"]"] {
        let error = read(&format!("\nplatform = {wrong}")).unwrap_err();
        assert!(error.contains("line 2") && error.contains("linux/amd64"), "{error}");
    }
}

#[test]
fn sizes_are_read_in_decimal_and_binary_units() {
    for (text, bytes) in
        [("120MB", 120_000_000), ("1.5 GiB", 1_610_612_736), ("4096B", 4096), ("2k", 2000), ("0", 0)]
    {
        assert_eq!(text.parse::<Size>().unwrap().0, bytes, "{text}");
    }
    for text in ["", "MB", "-1", "1 XB", "1e3", "9999999999GB", "..", "1,5MB", "12", "1.5"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn sizes_are_shown_with_the_unit_that_fits() {
    for (bytes, text) in [
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (5_000_000_000_000, "5000.0 GB"),
    ] {
        assert_eq!(human_size(bytes), text);
    }
}

#[test]
fn compression_is_named_with_a_level() {
    assert_eq!("gzip".parse::<Compression>().unwrap(), Compression::Gzip(5));
    assert_eq!("gzip:1".parse::<Compression>().unwrap(), Compression::Gzip(1));
    assert_eq!("zstd".parse::<Compression>().unwrap(), Compression::Zstd(3));
    assert_eq!("zstd:19".parse::<Compression>().unwrap(), Compression::Zstd(19));
    for text in ["gzip:0", "gzip:10", "gzip:", "none:1", "zstd:0", "zstd:20", "zstd:-1", "lz4"] {
        assert!(text.parse::<Compression>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn parsers_never_panic(text in ".{0,30}") {
        let _ = text.parse::<Size>();
        let _ = text.parse::<User>();
        let _ = text.parse::<Seconds>();
        let _ = text.parse::<Compression>();
        let _ = text.parse::<Platforms>();
        let _ = parse(&text);
    }
}
