//! Checks of a plan that a program may have changed.

use std::collections::BTreeSet;

use super::change::refuse_conflict;
use super::extra::{check_entry, check_name};
use super::{AppendedLayer, Plan, PlanError, Process};
use crate::base::{self, NodeKind, View};
use crate::image::{MAX_LAYERS, rfc3339};
use crate::recipe::is_signal;
use crate::tree::{Entry, Tree, TreeError};

impl Plan {
    /// Checks that an image can be built of the plan, as far as is known without reading files.
    /// [`Builder::build_plan`](crate::builder::Builder::build_plan) calls this.
    ///
    /// # Errors
    /// Names the first layer, entry or setting that makes no sense.
    pub fn check(&self) -> Result<(), PlanError> {
        let base = self.context.base.as_ref();
        if self.base.as_ref().map(|base| base.digest) != base.map(|base| base.image.digest()) {
            return Err(PlanError::BaseChanged);
        }
        if self.platform != self.context.platform {
            return Err(PlanError::PlatformChanged(self.platform.clone()));
        }
        if rfc3339(self.created).is_err() || self.created < 0 {
            return Err(PlanError::Time(self.created));
        }
        self.check_names()?;
        for (number, layer) in self.layers.iter().enumerate() {
            check_tree(&layer.tree, base.map(|base| &*base.view))?;
            for below in self.layers.iter().take(number) {
                // A file of an upper layer replaces one below.
                let check = |entry| refuse_conflict((&layer.tree, entry), &below.tree, true);
                layer.tree.iter().try_for_each(check)?;
            }
        }
        let inherits = base.is_some_and(|base| !base::command(&base.image).is_empty());
        check_process(&self.process, inherits)
    }

    fn check_names(&self) -> Result<(), PlanError> {
        let of_base = self.base.as_ref().map_or(0, |base| base.layers.len());
        let own = self.layers.len() + self.appended.len();
        if own == 0 {
            return Err(PlanError::NoLayers);
        }
        if of_base + own > MAX_LAYERS {
            return Err(PlanError::TooManyLayers(of_base + own));
        }
        self.layers.iter().try_for_each(|layer| check_name(&layer.name))?;
        let names = self.layers.iter().map(|layer| layer.name.as_str());
        let names: Vec<&str> = names.chain(self.appended.iter().map(AppendedLayer::name)).collect();
        refuse_duplicates(&names, &self.context.own_names)?;
        match self.layers.iter().find(|layer| layer.tree.is_empty()) {
            Some(empty) => Err(PlanError::EmptyLayer(empty.name.clone())),
            None => Ok(()),
        }
    }
}

/// Refuses a name that several layers have, unless as many of the build's `own` layers have it: a
/// distribution may be called `source`, and another name would change the history of its image.
pub(crate) fn refuse_duplicates(all: &[&str], own: &[String]) -> Result<(), PlanError> {
    let is_surplus = |name: &&&str| {
        let count = all.iter().filter(|other| other == name).count();
        count > own.iter().filter(|other| other == *name).count().max(1)
    };
    match all.iter().find(is_surplus) {
        Some(name) => Err(PlanError::DuplicateLayer((*name).to_owned())),
        None => Ok(()),
    }
}

fn check_tree(tree: &Tree, base: Option<&View>) -> Result<(), PlanError> {
    for entry in tree.iter() {
        check_entry(entry)?;
        let parent = entry.path.parent().filter(|parent| !parent.is_root());
        match parent.as_ref().map(|parent| tree.get(parent)) {
            Some(None) => return Err(PlanError::NoParent(entry.path.clone())),
            Some(Some(parent)) if !parent.is_directory() => {
                return Err(PlanError::Tree(TreeError::NotADirectory {
                    path: entry.path.clone(),
                    below: Box::new(entry.owner.clone()),
                    parent: parent.path.clone(),
                    above: Box::new(parent.owner.clone()),
                }));
            }
            _ => {}
        }
        if let Some(view) = base {
            check_on_base(entry, view)?;
        }
    }
    Ok(())
}

/// Refuses an entry below a link of the base, or in place of something else.
fn check_on_base(entry: &Entry, view: &View) -> Result<(), PlanError> {
    let real = view.destination(&entry.path).map_err(Box::new)?;
    if real != entry.path {
        return Err(PlanError::ThroughLink { path: entry.path.clone(), real });
    }
    let Some(node) = view.lookup(&entry.path) else { return Ok(()) };
    let is_directory = node.kind == NodeKind::Directory;
    if is_directory == entry.is_directory() {
        return Ok(());
    }
    let planned = if entry.is_directory() { "a directory" } else { "a file" };
    let clash = base::BaseError::Clash { path: entry.path.clone(), has: node.kind_name(), planned };
    Err(PlanError::Base(Box::new(clash)))
}

/// Checks a process; `inherits` is true if the base has a command.
fn check_process(process: &Process, inherits: bool) -> Result<(), PlanError> {
    let Process { entrypoint, cmd, env, port, exposed_ports, stop_signal, healthcheck, labels, .. } = process;
    let setting =
        |name: &str, value: &str| Err(PlanError::Setting { name: name.to_owned(), value: value.to_owned() });
    if entrypoint.is_empty() && cmd.is_empty() && !inherits {
        return Err(PlanError::NoCommand);
    }
    if entrypoint.iter().chain(cmd).next().is_some_and(String::is_empty) {
        return setting("entrypoint", "");
    }
    if let Some(word) = entrypoint.iter().chain(cmd).find(|word| word.contains('\0')) {
        return setting("entrypoint", word);
    }
    let mut seen = BTreeSet::new();
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(PlanError::Variable(name.clone()));
        }
        if !seen.insert(name) {
            return Err(PlanError::DuplicateVariable(name.clone()));
        }
    }
    if *port == Some(0) {
        return setting("port", "0");
    }
    if let Some(port) = exposed_ports.iter().find(|port| !is_exposable(port)) {
        return setting("exposed port", port);
    }
    if let Some(signal) = stop_signal.as_ref().filter(|signal| !is_signal(signal)) {
        return setting("stop-signal", signal);
    }
    if let Some(check) = healthcheck {
        let kind = check.test.first().map_or("", String::as_str);
        let is_complete = match kind {
            "CMD" => check.test.len() > 1,
            "CMD-SHELL" => check.test.len() == 2,
            "NONE" => check.test.len() == 1,
            _ => false,
        };
        if !is_complete {
            return setting("healthcheck", &check.test.join(" "));
        }
    }
    if labels.contains_key("") {
        return setting("labels", "");
    }
    Ok(())
}
/// Returns true for a port as in a configuration: `8000/tcp`, or without the protocol.
fn is_exposable(port: &str) -> bool {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    number.parse::<u16>().is_ok_and(|number| number > 0) && ["tcp", "udp", "sctp"].contains(&protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_builds_own_layers_share_a_name() {
        let own = ["source", "numpy", "source"].map(str::to_owned);
        let source: &[&str] = &["source", "numpy", "source"];
        for (all, refused) in [
            (source, None),
            (&["source", "models"], None),
            (&["numpy", "numpy"], Some("numpy")),
            (&["models", "models"], Some("models")),
            (&["source", "source", "source"], Some("source")),
        ] {
            let outcome = refuse_duplicates(all, &own);
            match (&outcome, refused) {
                (Ok(()), None) => {}
                (Err(PlanError::DuplicateLayer(name)), Some(refused)) => assert_eq!(name, refused),
                _ => panic!("{all:?}: {outcome:?}"),
            }
        }
    }
}
