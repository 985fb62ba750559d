//! Layers that a program adds to an image through the library.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use ipo_oci::builder::{BuildError, Builder, Built, LayerOrigin};
use ipo_oci::digest::Digest;
use ipo_oci::error::Advice as _;
use ipo_oci::image::{Blob, HistoryLine, Layer as ImageLayer};
use ipo_oci::plan::{AppendedLayer, ExtraLayer, Plan, PlanError, PlannedBase, PlannedLayer};
use ipo_oci::platform::Platform;
use ipo_oci::progress::{Activity, Progress, Silent, Step, Warning};
use ipo_oci::reference::Name;
use ipo_oci::settings::Settings;
use ipo_oci::store::{self, Access, WriteOptions};
use ipo_oci::tree::{Entry, Kind, Owner, TreeError};

use crate::support::base::Layer;
use crate::support::environments::image as image_path;
use crate::support::images::{self, layer_of};
use crate::support::{
    Image, Layout, Project, Venv, binary, clean_environment, copy_folder, run, settle, skip,
};
use test_macros::test;

/// Remembers the steps of a build.
#[derive(Default)]
struct Steps(Mutex<Vec<Activity>>);

impl Progress for Steps {
    fn warn(&self, _: Warning) {}

    fn step(&self, step: &Step<'_>) {
        self.0.lock().expect("steps").push(step.activity);
    }
}

impl Steps {
    /// True if the environment was read, and not taken from the plan cache.
    fn planned(&self) -> bool {
        self.0.lock().expect("steps").contains(&Activity::ReadEnvironment)
    }
}

fn builder(project: &Project) -> Builder {
    Builder::from_project(project.path()).expect("a project").cache(project.beside("cache"))
}

fn models(project: &Project) -> ExtraLayer {
    ExtraLayer::new("models")
        .directory(project.beside("models"), "/opt/models")
        .owner(1000, 2000)
        .file_mode(0o640)
        .directory_mode(0o750)
}

/// A project with a folder of models beside it.
fn project() -> Project {
    let project = Project::tiny();
    let models = project.beside("models");
    fs_err::create_dir_all(models.join("blobs")).expect("a folder");
    fs_err::write(models.join("blobs/1"), "weights").expect("a file");
    std::os::unix::fs::symlink("blobs/1", models.join("current")).expect("a link");
    project
}

#[track_caller]
fn build(builder: &Builder) -> Built {
    builder.build(&Silent).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes the image into a layout, and reads it from there.
#[track_caller]
fn written(built: &Built, folder: &Path) -> Image {
    let destination = format!("oci:{}:1", folder.display()).parse().expect("a reference");
    built.write_to(&destination, &WriteOptions::default(), &Silent).expect("written");
    let layout = Layout::open(folder);
    layout.verify();
    layout.image("1")
}

fn names(built: &Built) -> Vec<&str> {
    built.report.layers.iter().map(|layer| layer.name.as_str()).collect()
}

#[test]
fn the_example_program_adds_files_in_layers_of_their_own() {
    let program = binary().with_file_name("examples").join("extra_entries");
    if !program.exists() {
        skip("examples/extra_entries is not built: cargo build --example extra_entries");
    }
    let project = project();
    let example = project.beside("agencyos");
    copy_folder(Project::example().path(), &example);
    copy_folder(Venv::pip().path(), &example.join(".venv"));
    fs_err::write(project.beside("ca.crt"), "certificate").expect("a file");
    let mut command = Command::new(program);
    clean_environment(&mut command);
    command.current_dir(project.beside("")).args(["agencyos", "ca.crt", "models", "oci:image:1.0"]);
    let outcome = run(&mut command).success();
    let layout = Layout::open(project.beside("image"));
    layout.verify();
    let image = layout.image("1.0");
    assert_eq!(outcome.text().trim_end(), format!("oci:image:1.0@{}", image.digest));
    let files = image.files();
    let access = |path: &str| (files[path].uid, files[path].mode);
    assert_eq!(access("opt/models"), (1000, 0o750));
    assert_eq!(access("opt/models/blobs/1"), (1000, 0o640));
    assert_eq!(files["opt/models/current"].link.as_deref(), Some("blobs/1"));
    assert_eq!(access("opt"), (0, 0o755));
    assert_eq!(access("usr/local/share/ca-certificates/company.crt"), (0, 0o644));
    assert_eq!(image.read_file("etc/company/build.json"), b"{ \"revision\": \"4a1c0de\" }\n");
    let history = image.config["history"].as_array().expect("a history");
    let made: Vec<_> = history.iter().filter_map(|line| line["created_by"].as_str()).collect();
    assert_eq!(made[made.len() - 3..], ["ipo-oci: company", "ipo-oci: models", "ipo-oci: source"]);
    assert_eq!(history[made.len() - 2]["comment"], "changed by a training run");
    assert!(
        outcome.stderr.contains("models") && outcome.stderr.contains("added files"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn caches_know_added_layers() {
    let project = project();
    settle(&project.beside(""));
    let builder = || builder(&project).layer(models(&project));
    let first = build(&builder());
    assert_eq!(names(&first)[names(&first).len() - 2..], ["models", "source"]);
    assert_eq!(first.report.kinds.extra, 7);
    let steps = Steps::default();
    let again = builder().build(&steps).expect("built");
    assert_eq!(again.image.digest(), first.image.digest());
    assert!(again.origins.iter().all(|origin| *origin == LayerOrigin::Cache), "{:?}", again.origins);
    assert!(!steps.planned());
    // As without any cache.
    let anew = build(&Builder::from_project(project.path()).expect("a project").layer(models(&project)));
    assert_eq!(anew.image.digest(), first.image.digest());

    // Other bytes: one other layer, on the cached plan.
    fs_err::write(project.beside("models/blobs/1"), "better weights").expect("a file");
    let steps = Steps::default();
    let changed = builder().build(&steps).expect("built");
    assert!(!steps.planned());
    let different: Vec<&str> = first
        .report
        .layers
        .iter()
        .zip(&changed.report.layers)
        .filter(|(one, other)| one.digest != other.digest)
        .map(|(one, _)| one.name.as_str())
        .collect();
    assert_eq!(different, ["models"]);
    let image = written(&changed, &project.beside("image"));
    assert_eq!(image.read_file("opt/models/blobs/1"), b"better weights");
    assert_eq!(image.files()["opt/models"].mode, 0o750);

    // Another file: as without any cache.
    fs_err::write(project.beside("models/blobs/2"), "more").expect("a file");
    let more = build(&builder());
    let anew = build(&Builder::from_project(project.path()).expect("a project").layer(models(&project)));
    assert_eq!(more.image.digest(), anew.image.digest());
    assert_ne!(more.image.digest(), changed.image.digest());
}

#[test]
fn a_plan_lists_added_layers() {
    let project = project();
    let plan = builder(&project).layer(models(&project)).plan(&Silent).expect("a plan");
    let names: Vec<&str> = plan.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names[names.len() - 2..], ["models", "source"]);
    let text = plan.describe().expect("a text");
    assert!(text.contains("-rw-r----- 1000:2000         7 /opt/models/blobs/1"), "{text}");
}

#[test]
fn an_added_program_may_be_the_command() {
    let project = project();
    let script = "#!/app/.venv/bin/python\nprint('ready')\n";
    let tools = ExtraLayer::new("tools").bytes(script, "/opt/tools/serve").file_mode(0o755);
    let settings = |entrypoint: &str| {
        let mut settings = Settings::default();
        settings.entrypoint = Some(vec![entrypoint.to_owned()]);
        settings.cmd = Some(Vec::new());
        settings
    };
    let with = |program| builder(&project).layer(tools.clone()).settings(settings(program));
    let first = build(&with("/opt/tools/serve"));
    let again = build(&with("/opt/tools/serve"));
    assert_eq!(first.image.digest(), again.image.digest());
    let error = with("/opt/tools/other").build(&Silent).expect_err("no such program");
    assert!(matches!(error, BuildError::Start(_)), "{error}");
}

#[test]
fn on_a_base_added_files_go_through_its_links_and_may_replace_its_files() {
    let project = project();
    let base = Layer::default()
        .dir("etc/", 0o755)
        .dir("usr/", 0o755)
        .dir("usr/lib/", 0o711)
        .link("lib", "usr/lib")
        .file("etc/motd", "base\n")
        .write(project.beside("base.tar"));
    let mut settings = Settings::default();
    settings.base = Some(format!("rootfs:{}", base.display()));
    let company = ExtraLayer::new("company")
        .bytes("company\n", "/etc/motd")
        .bytes("x", "/lib/company/x")
        .empty_directory("/lib")
        .directory_mode(0o777);
    let built = build(&builder(&project).layer(company).settings(settings.clone()));
    let image = written(&built, &project.beside("image"));
    let files = image.files();
    assert_eq!(image.read_file("etc/motd"), b"company\n");
    assert_eq!((files["usr/lib"].mode, files["lib"].link.as_deref()), (0o711, Some("usr/lib")));
    assert!(files.contains_key("usr/lib/company/x") && !files.contains_key("lib/company/x"));

    let clash = ExtraLayer::new("company").bytes("x", "/usr/lib");
    let error = builder(&project).layer(clash).settings(settings).build(&Silent).expect_err("a directory");
    assert_eq!(error.to_string(), "cannot put a file at /usr/lib: the base has a directory there");
}

#[test]
fn a_file_of_the_build_is_replaced_only_with_permission() {
    let project = project();
    let bundle = || ExtraLayer::new("company").bytes("company:x:7:7::/:\n", "/etc/passwd");
    let error = builder(&project).layer(bundle()).build(&Silent).expect_err("twice");
    assert_eq!(error.to_string(), "duplicate path /etc/passwd in the image: of system and of layer company");
    assert!(error.help().is_some_and(|help| help.contains("`ExtraLayer::replacing`")), "{:?}", error.help());
    let built = build(&builder(&project).layer(bundle().replacing()));
    let image = written(&built, &project.beside("image"));
    assert_eq!(image.read_file("etc/passwd"), b"company:x:7:7::/:\n");
    // From the plan cache too.
    assert_eq!(build(&builder(&project).layer(bundle().replacing())).image.digest(), built.image.digest());
    // The source is above.
    let main = ExtraLayer::new("company").bytes("x", "/app/main.py").replacing();
    let error = builder(&project).layer(main).build(&Silent).expect_err("twice");
    assert_eq!(error.to_string(), "duplicate path /app/main.py in the image: of layer company and of source");
    assert!(error.help().is_some_and(|help| help.contains(".dockerignore")), "{:?}", error.help());
}

#[test]
#[allow(clippy::too_many_lines)] // One row for each entry.
fn impossible_entries_are_refused_by_name() {
    let project = project();
    let at = |name: &str| project.beside(name);
    fs_err::create_dir(at("odd")).expect("a folder");
    std::os::unix::fs::symlink("../models", at("odd/link")).expect("a link");
    fs_err::create_dir(at("special")).expect("a folder");
    let _socket = std::os::unix::net::UnixListener::bind(at("special/socket")).expect("a socket");
    let layer = || ExtraLayer::new("extra");
    let one = || layer().bytes("1", "/opt/x");
    let hard = Entry { kind: Kind::HardLink(image_path("a")), ..entry("opt/y") };
    let link = at("odd/link");
    for (layers, message) in [
        (
            vec![layer().bytes("x", "../etc/passwd")],
            "cannot add a file to layer `extra`: invalid path `../etc/passwd`: contains `..`".to_owned(),
        ),
        (
            vec![layer().bytes("x", "/")],
            "cannot add a file to layer `extra`: the path / is the root directory".to_owned(),
        ),
        (vec![layer()], "invalid layer `extra`: it has no entries".to_owned()),
        (
            vec![ExtraLayer::new(" ").bytes("x", "/x")],
            "invalid layer name ` `: empty or not printable".to_owned(),
        ),
        (
            vec![one(), one()],
            "duplicate path /opt/x in the image: of layer extra and of layer extra".to_owned(),
        ),
        (
            vec![one().bytes("2", "opt/x")],
            "duplicate path /opt/x in the image: of layer extra and of layer extra".to_owned(),
        ),
        (
            vec![one().bytes("2", "opt/x/y")],
            "cannot add /opt/x/y of layer extra: /opt/x of layer extra is not a directory".to_owned(),
        ),
        (vec![one(), layer().bytes("2", "/opt/y")], "duplicate layer `extra` in the image".to_owned()),
        (
            vec![ExtraLayer::new("source").bytes("2", "/opt/y")],
            "duplicate layer `source` in the image".to_owned(),
        ),
        (
            vec![layer().bytes("x", "/x").file_mode(0o100_644)],
            "invalid mode `0o100644` of /x: larger than 0o7777".to_owned(),
        ),
        (
            vec![layer().entry(hard)],
            "cannot add the hard link /opt/y: a plan has files and symbolic links".to_owned(),
        ),
        (
            vec![layer().file(at("models"), "/opt/x")],
            format!("cannot add {}: it is not a regular file", at("models").display()),
        ),
        (
            vec![layer().directory(at("models/blobs/1"), "/opt/x")],
            format!("cannot add {}: it is not a directory", at("models/blobs/1").display()),
        ),
        (
            vec![layer().file(at("absent"), "/opt/x")],
            format!("cannot read {}: no such file or directory", at("absent").display()),
        ),
        (
            vec![layer().directory(at("odd"), "/opt/x")],
            format!("cannot add the link {}: it leads out of its directory, to ../models", link.display()),
        ),
        (
            vec![layer().directory(at("special"), "/opt/x")],
            format!("cannot add {}: it is a socket", at("special/socket").display()),
        ),
    ] {
        let builder = layers.into_iter().fold(builder(&project), Builder::layer);
        let error = builder.plan(&Silent).expect_err(&message);
        assert!(matches!(error, BuildError::Plan(_) | BuildError::Tree(_)), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert!(error.help().is_some(), "{message}");
    }
    let builder = builder(&project).layer(one().bytes("2", "opt/x"));
    let error = builder.plan(&Silent).expect_err("twice");
    let BuildError::Tree(TreeError::Twice { first, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(**first, Owner::Extra { layer: "extra".into() });
    let error = builder.layer(ExtraLayer::new("a\n")).plan(&Silent).expect_err("a name");
    assert!(matches!(error, BuildError::Plan(PlanError::LayerName(_))), "{error:?}");
}

fn entry(path: &str) -> Entry {
    Entry::file(image_path(path), "x".into(), Owner::Source)
}

fn line(created_by: &str) -> HistoryLine {
    HistoryLine { created_by: created_by.to_owned(), comment: "of the data team".to_owned() }
}

#[test]
fn a_finished_layer_lies_on_top_and_in_the_report() {
    let project = Project::tiny();
    let layer = layer_of(&[("opt/data/1", "seven b"), ("app/main.py", "# replaced\n")]);
    let with = || builder(&project).append_layer(layer.clone(), line("team: data"));
    let built = build(&with());
    let image = written(&built, &project.beside("image"));
    assert_eq!(image.read_file("app/main.py"), b"# replaced\n");
    let own = built.report.layers.last().expect("a layer");
    assert_eq!((own.name.as_str(), own.disk_bytes, own.files), ("team: data", 18, 2));
    assert_eq!((own.digest, own.diff_id, own.transfer_bytes), (layer.digest, layer.diff_id, layer.size));
    assert_eq!(own.reason, "of the data team");
    assert_eq!(built.report.kinds.extra, 18);
    assert_eq!(
        built.report.disk_bytes,
        built.report.layers.iter().map(|layer| layer.disk_bytes).sum::<u64>()
    );
    assert_eq!(built.report.digest, built.image.digest());
    assert_eq!(built.origins.last(), Some(&LayerOrigin::Appended));
    assert_eq!(build(&with()).image.digest(), built.image.digest());

    // On an image that is built already: the same.
    let appended = AppendedLayer::verify(layer.clone(), line("team: data"), None, &Silent).expect("a layer");
    let later = build(&builder(&project)).append_layers(&[appended]).expect("appended");
    assert_eq!((later.image.digest(), &later.report), (built.image.digest(), &built.report));

    // Its files count for the command.
    let mut settings = Settings::default();
    settings.entrypoint = Some(vec!["/app/.venv/bin/python".to_owned(), "/opt/data/1".to_owned()]);
    settings.cmd = Some(Vec::new());
    build(&with().settings(settings));
}

#[test]
fn a_finished_layer_other_than_described_is_refused_by_name() {
    let project = Project::tiny();
    let layer = layer_of(&[("opt/data/1", "data")]);
    let other = Digest::of(b"other");
    let wrong = |change: &dyn Fn(&mut ImageLayer)| {
        let mut layer = layer.clone();
        change(&mut layer);
        layer
    };
    for (layer, reason) in [
        (wrong(&|layer| layer.digest = other), format!("the digest is {}, not {other}", layer.digest)),
        (wrong(&|layer| layer.diff_id = other), format!("the diff ID is {}, not {other}", layer.diff_id)),
        (wrong(&|layer| layer.size += 1), format!("the size is {}, not {}", layer.size, layer.size + 1)),
        (wrong(&|layer| layer.blob = Blob::Memory(b"x".as_slice().into())), String::new()),
        (wrong(&|layer| layer.blob = Blob::File("/absent".into())), String::new()),
    ] {
        let error = builder(&project)
            .append_layer(layer.clone(), line("ipo-oci: data"))
            .plan(&Silent)
            .expect_err("a wrong layer");
        let BuildError::Plan(PlanError::AppendedLayer { .. }) = &error else { panic!("{error:?}") };
        let start = format!("cannot append layer `data` ({}): {reason}", layer.digest);
        assert!(error.to_string().starts_with(&start), "{error}");
    }
    let error = builder(&project).append_layer(layer, line("source")).plan(&Silent).expect_err("twice");
    assert!(matches!(error, BuildError::Plan(PlanError::DuplicateLayer(_))), "{error:?}");
}

#[test]
fn a_layer_appended_to_a_stored_image_keeps_everything_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let access = Access::default();
    let reference = |name: &str| format!("oci:{}:{name}", folder.path().join("layout").display());
    let write = |image: &ipo_oci::image::Image, tag: &str| {
        let name = Name::new("app", tag).expect("a name");
        let artifact = image.artifact().expect("an artifact");
        let place = reference(tag).parse().expect("a reference");
        store::write(&artifact, &place, &name, &WriteOptions::default(), &access, &Silent).expect("written");
    };
    write(&images::image("1"), "1");
    let artifact = store::open(&reference("1").parse().expect("a reference"), &access).expect("opened");
    let image = ipo_oci::image::Image::from_artifact(&artifact).expect("an image");
    let top = layer_of(&[("opt/data/1", "data")]);
    write(&image.append_layers(vec![(top.clone(), line("team: data"))]).expect("appended"), "2");
    let layout = Layout::open(folder.path().join("layout"));
    layout.verify();
    let (before, after) = (layout.image("1"), layout.image("2"));
    after.verify();
    assert_eq!(after.config["config"], before.config["config"]);
    assert_eq!(after.config["config"]["Healthcheck"]["Test"][1], "/app/check");
    assert_eq!(after.read_file("opt/data/1"), b"data");
    // Stores verify the blob.
    let mut wrong = top;
    wrong.digest = Digest::of(b"other");
    let image = image.append_layers(vec![(wrong, line("team: data"))]).expect("not read yet");
    let name = Name::new("app", "3").expect("a name");
    let artifact = image.artifact().expect("an artifact");
    let place = reference("3").parse().expect("a reference");
    let refused = store::write(&artifact, &place, &name, &WriteOptions::default(), &access, &Silent);
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_plan_is_changed_and_carried_out() {
    let project = project();
    let plain = builder(&project);
    let plan = || plain.plan(&Silent).expect("a plan");
    let of = |plan: Plan| plain.build_plan(plan, &Silent).unwrap_or_else(|error| panic!("{error}"));
    // Unchanged: the same image.
    let built = of(plan());
    assert_eq!((built.image.digest(), &built.report), (build(&plain).image.digest(), &build(&plain).report));
    // A layer, as the builder makes it.
    let mut with_layer = plan();
    with_layer.add_layer(&models(&project)).expect("a layer");
    let layered = build(&plain.clone().layer(models(&project)));
    assert_eq!(of(with_layer).image.digest(), layered.image.digest());
    // Entries and settings.
    let mut changed = plan();
    "changed".clone_into(&mut changed.tag);
    changed.process.set_env("GREETING", "hello");
    changed.process.set_env("PATH", "/opt:/app/.venv/bin");
    changed.process.labels.insert("team".to_owned(), "data".to_owned());
    let source = changed.layer_mut("source").expect("a layer");
    source.tree.replace(entry("app/main.py")).expect("no conflict");
    source.tree.insert(entry("app/notes/1")).expect("no conflict");
    let appended = AppendedLayer::verify(layer_of(&[("opt/data/1", "data")]), line("data"), None, &Silent);
    changed.appended.push(appended.expect("a layer"));
    let text = changed.describe().expect("a text");
    assert!(text.contains("/app/notes/1") && text.contains("appended layer data"), "{text}");
    let image = written(&of(changed), &project.beside("image"));
    assert_eq!(image.read_file("app/main.py"), b"x");
    assert_eq!(image.config["config"]["Labels"]["team"], "data");
    let env = image.config["config"]["Env"].as_array().expect("variables");
    assert!(env.contains(&"GREETING=hello".into()) && env.contains(&"PATH=/opt:/app/.venv/bin".into()));
    assert!(image.files().contains_key("app/notes/1") && image.files().contains_key("opt/data/1"));
}

type Change<'a> = &'a dyn Fn(&mut Plan);

#[test]
#[allow(clippy::too_many_lines)] // One row for each change.
fn a_plan_changed_into_nonsense_is_refused_by_name() {
    let project = Project::tiny();
    let builder = builder(&project);
    let plan = builder.plan(&Silent).expect("a plan");
    let other = Platform::new("linux", "s390x", None);
    let layer = |name: &str| PlannedLayer::new(name, "");
    let changes: [(Change<'_>, &str); 21] = [
        (&|plan| plan.layers.clear(), "cannot build an image without layers"),
        (&|plan| plan.layers.push(layer("source")), "duplicate layer `source` in the image"),
        (&|plan| plan.layers.push(layer("new")), "invalid layer `new`: it has no entries"),
        (&|plan| plan.layers[0].name.clear(), "invalid layer name ``: empty or not printable"),
        (&|plan| plan.process.entrypoint.clear(), "command not found: neither entrypoint nor cmd"),
        (&|plan| plan.process.entrypoint[0].clear(), "invalid entrypoint ``"),
        (
            &|plan| plan.process.set_env("", "x"),
            "invalid environment variable ``: its name is empty or contains `=`, or it contains a NUL byte",
        ),
        (
            &|plan| plan.process.set_env("A=B", "x"),
            "invalid environment variable `A=B`: its name is empty or contains `=`, or it contains a NUL byte",
        ),
        (
            &|plan| plan.process.env.push(("PATH".to_owned(), "x".to_owned())),
            "duplicate environment variable `PATH`",
        ),
        (&|plan| plan.process.port = Some(0), "invalid port `0`"),
        (&|plan| plan.process.exposed_ports.push("80/http".to_owned()), "invalid exposed port `80/http`"),
        (&|plan| plan.process.stop_signal = Some("SIGSOFT".to_owned()), "invalid stop-signal `SIGSOFT`"),
        (&|plan| plan.process.healthcheck.as_mut().expect("a check").test.clear(), "invalid healthcheck ``"),
        (&|plan| drop(plan.process.labels.insert(String::new(), String::new())), "invalid labels ``"),
        (&|plan| plan.created = -1, "invalid time `-1` of the plan: not between 1970 and 9999"),
        (&|plan| "a b".clone_into(&mut plan.tag), "invalid image name `a b`"),
        (&|plan| plan.platform = other.clone(), "cannot change the platform of a plan to linux/s390x"),
        (
            &|plan| {
                plan.base = Some(PlannedBase {
                    name: "debian".to_owned(),
                    digest: Digest::of(b""),
                    layers: Vec::new(),
                });
            },
            "cannot change the base of a plan",
        ),
        (
            &|plan| {
                let environment = plan.layer_mut("environment").expect("a layer");
                environment.tree.insert(entry("app/main.py/x")).expect("no conflict in the layer");
            },
            "cannot add /app/main.py/x of source: /app/main.py of source is not a directory",
        ),
        (
            &|plan| {
                plan.layer_mut("source").expect("a layer").tree.remove(&image_path("app"));
            },
            "invalid layer: the directory of /app/",
        ),
        (
            &|plan| {
                let source = plan.layer_mut("source").expect("a layer");
                source.tree.insert(entry("opt/x")).expect("no conflict");
                source
                    .tree
                    .replace(Entry { kind: Kind::HardLink(image_path("a")), ..entry("opt/x") })
                    .expect("no conflict");
            },
            "cannot add the hard link /opt/x: a plan has files and symbolic links",
        ),
    ];
    for (change, message) in changes {
        let mut changed = plan.clone();
        change(&mut changed);
        let error = builder.build_plan(changed, &Silent).map(|_| ()).expect_err(message);
        assert!(matches!(error, BuildError::Plan(_) | BuildError::Reference(_)), "{error:?}");
        assert!(error.to_string().starts_with(message), "{error}");
        assert!(error.help().is_some(), "{message}");
    }
    let mut absent = plan.clone();
    absent.process.entrypoint = vec!["/opt/absent".to_owned()];
    let error = builder.build_plan(absent, &Silent).map(|_| ()).expect_err("no such program");
    assert!(matches!(error, BuildError::Start(_)), "{error:?}");
    let mut changed = plan;
    assert!(matches!(changed.layer_mut("absent"), Err(PlanError::NoLayer(_))));
    for (path, message) in [
        ("/app/main.py", "duplicate path /app/main.py in the image: of source and of layer extra"),
        (
            "/app/main.py/x",
            "cannot add /app/main.py/x of layer extra: /app/main.py of source is not a directory",
        ),
        ("/app", "cannot add /app/"),
    ] {
        let error = changed.add_layer(&ExtraLayer::new("extra").bytes("x", path)).expect_err(message);
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
