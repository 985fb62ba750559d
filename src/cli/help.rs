//! Help texts: examples of the subcommands, and the form of the flags' environment variables.

use std::ffi::OsString;

use clap::Command;

use super::pages;

pub(super) const BUILD_SHORT: &str =
    "These are the common flags; `ipo-oci build --help` lists all, with examples.";

pub(super) const BUILD: &str = "\
Examples:
  ipo-oci build                                     # dist/image, an OCI layout
  ipo-oci build -t ghcr.io/team/api:3.0.0 --push    # to a registry
  ipo-oci build -o docker-daemon:api:latest         # to a Docker engine
  ipo-oci build -o docker-archive:- | podman load   # without a file
  ipo-oci build --base python:3.13-slim             # on a base image
  ipo-oci build --process all                       # with workers and migrations
  ipo-oci build --target all --platform linux/amd64,linux/arm64
  ipo-oci build --report html=sizes.html --max-size 120MB
  ipo-oci build --dry-run                           # the plan alone";

pub(super) const INIT: &str = "\
Examples:
  ipo-oci init --print                              # the settings alone
  ipo-oci init                                      # to pyproject.toml
  ipo-oci init --from Dockerfile                    # and each instruction";

pub(super) const CHECK: &str = "\
Examples:
  ipo-oci check                                     # the project, before it is built
  ipo-oci check oci:dist/image                      # an image
  ipo-oci check python:3.13-slim --select IPO6      # of a registry, some rules
  ipo-oci check --format sarif > check.sarif        # for code scanning
  ipo-oci check --explain IPO103";

pub(super) const CONTEXT: &str = "\
Examples:
  ipo-oci context                                   # kept files, with sizes
  ipo-oci context --why tests/conftest.py           # the line that decides
  ipo-oci context services/api --paths              # for other programs";

pub(super) const EXPLAIN: &str = "\
The source is read and never run; distributions are the declared dependencies.

Examples:
  ipo-oci explain                                   # why this server and this application
  ipo-oci explain services/api --json               # for other programs";

pub(super) const LS: &str = "\
Examples:
  ipo-oci ls oci:dist/image                         # the root directory
  ipo-oci ls oci:dist/image:/app
  ipo-oci ls -R python:3.13-slim:/usr/local/lib     # of an image in a registry";

pub(super) const CAT: &str = "\
Examples:
  ipo-oci cat oci:dist/image:/etc/passwd
  ipo-oci cat python:3.13-slim:/etc/os-release      # of an image in a registry";

pub(super) const LOCK: &str = "\
Examples:
  ipo-oci lock                                      # the project's bases
  ipo-oci lock --base python:3.13-slim --platform linux/amd64,linux/arm64
  ipo-oci lock --check                              # in CI";

pub(super) const TEST: &str = "\
Examples:
  ipo-oci test                                      # builds and tests the runtime image
  ipo-oci test --target all --get /metrics
  ipo-oci test oci:dist/image --get /admin=401
  ipo-oci test python:3.13-slim --runtime own       # of a registry
  ipo-oci test . --report junit=test.xml            # in CI
  ipo-oci test . --network host --env-file .env     # with a database of this machine";

pub(super) const RUN: &str = "\
Examples:
  ipo-oci run                                       # builds and runs the runtime image
  ipo-oci run --target dev --env-file .env          # with the source of this machine, and reload
  ipo-oci run -p 9000 --secret db-password=.secrets/db
  ipo-oci run --process worker
  ipo-oci run --entrypoint python -i                # an interpreter in the image
  ipo-oci run -- --workers 2                        # with arguments for the server
  ipo-oci run oci:dist/image";

pub(super) const DEPLOY: &str = "\
Examples:
  ipo-oci deploy compose > compose.yaml             # the project's processes
  ipo-oci deploy compose -t ghcr.io/team/api:3.0.0  # with the name in the registry
  ipo-oci deploy compose ghcr.io/team/api:3.0.0     # an image
  ipo-oci deploy kubernetes --kustomize ../base     # a base of Kustomize
  ipo-oci deploy systemd -o ../units                # units of Podman";

pub(super) const RESOLVE: &str = "\
Examples:
  ipo-oci resolve -f manifests/ | kubectl apply -f -
  ipo-oci resolve -f manifests/ --repository ghcr.io/team
  ipo-oci resolve -f chart/templates -R -o resolved # as files
  ipo-oci resolve -f app.yaml --no-push             # the digests alone";

pub(super) const COPY: &str = "\
Examples:
  ipo-oci copy python:3.13-slim oci:python          # all platforms, to a layout
  ipo-oci copy oci:dist/image docker://ghcr.io/team/api:3.0.0
  ipo-oci copy oci:dist/image docker-archive:- | docker load";

pub(super) const INSPECT: &str = "\
Examples:
  ipo-oci inspect oci:dist/image
  ipo-oci inspect python:3.13-slim --platform linux/arm64
  ipo-oci inspect oci:dist/image --json | jq .digest";

pub(super) const VERIFY: &str = "\
Examples:
  ipo-oci verify oci:dist/image                     # all images of a layout
  ipo-oci verify ghcr.io/team/api:3.0.0             # after a push
  ipo-oci verify ghcr.io/team/api:3.0.0 --rebuild   # from the project in this folder
  docker save api | ipo-oci verify docker-archive:-";

pub(super) const DIFF: &str = "\
Examples:
  ipo-oci diff ghcr.io/team/api:3.0.0 oci:dist/image
  ipo-oci diff python:3.13.1-slim python:3.13.2-slim
  ipo-oci diff ghcr.io/team/api:main oci:dist/image --format markdown > comment.md";

pub(super) const INDEX_CREATE: &str = "\
Examples:
  ipo-oci index create ghcr.io/team/api:3.0.0 oci:dist/amd64 oci:dist/arm64";

pub(super) const REBASE: &str = "\
Examples:
  ipo-oci rebase oci:dist/image python:3.13-slim    # in place
  ipo-oci rebase ghcr.io/team/api:3.0.0 python:3.13-slim -o ghcr.io/team/api:3.0.1";

pub(super) const CACHE: &str = "\
Examples:
  ipo-oci cache ls                                  # layers, most recent first
  ipo-oci cache verify
  ipo-oci cache prune --max-size 2GB";

pub(super) const COMPLETIONS: &str = "\
Examples:
  ipo-oci completions bash >~/.local/share/bash-completion/completions/ipo-oci
  ipo-oci completions zsh >~/.zfunc/_ipo-oci
  ipo-oci completions fish >~/.config/fish/completions/ipo-oci.fish";

/// The form of help texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `-h`
    Short,
    /// `--help`, with the environment variables of flags.
    Long,
}

impl Form {
    /// Returns the form that a command line asks for.
    pub(super) fn of(words: &[OsString]) -> Self {
        if words.iter().any(|word| word == "--help") { Self::Long } else { Self::Short }
    }
}

/// Completes the definition of the program: the names that `help` accepts, and environment variables
/// without their values.
pub(super) fn complete(program: Command, form: Form) -> Command {
    name_variables(pages::with_names(program), form)
}

fn name_variables(command: Command, form: Form) -> Command {
    let is_hidden = form == Form::Short;
    let command = command.mut_args(|argument| argument.hide_env_values(true).hide_env(is_hidden));
    command.mut_subcommands(|command| name_variables(command, form))
}
