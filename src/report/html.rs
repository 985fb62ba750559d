//! Renders a [`SizeReport`] as a self-contained HTML page without scripts, fonts or external
//! resources.
//!
//! `maud` escapes all text, so names of distributions cannot inject markup.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::treemap::{Rectangle, squarify};
use super::{Budget, DistributionSize, GENERATOR, LayerSize, PackageSize, SizeReport, SourceSize};
use crate::printable::name;
use crate::settings::human_size;

/// Size of the map in label units: a letter is about 1 unit wide and a line 2.5 units high.
const MAP: Rectangle = Rectangle { left: 0.0, top: 0.0, width: 150.0, height: 66.0 };

/// A group of parts with one color in the map.
struct TileGroup {
    name: &'static str,
    class: &'static str,
    parts: Vec<Tile>,
}

/// A tile of the map.
struct Tile {
    name: String,
    bytes: u64,
}

impl TileGroup {
    fn new(name: &'static str, class: &'static str, mut parts: Vec<Tile>) -> Self {
        parts.retain(|part| part.bytes > 0);
        parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        Self { name, class, parts }
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// Renders the report as HTML.
pub fn render(report: &SizeReport) -> String {
    let title = format!("{} ({}): {}", name(&report.image), report.target, human_size(report.disk_bytes));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="generator" content=(format!("{GENERATOR} {}", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(include_str!("html.css"))) }
            }
            body {
                (heading(report))
                main {
                    (map(&groups(report)))
                    (layers(report))
                    (distributions(report))
                    (packages(report))
                    (source_files(report))
                }
                footer {
                    p {
                        "Disk is the bytes of the files, transfer the bytes that a registry sends. "
                        "1 MB is 1,000,000 bytes. Every file counts once."
                    }
                    p { "ipo-oci " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    };
    let mut text = page.into_string();
    text.push('\n');
    text
}

fn heading(report: &SizeReport) -> Markup {
    html! {
        header {
            p.kind { (report.target) " image, " (report.platform) }
            h1 { (name(&report.image)) }
            p.digest { (report.digest) }
            dl.figures {
                (figure("on disk", &human_size(report.disk_bytes)))
                (figure("to transfer", &human_size(report.transfer_bytes)))
                (figure("files", &report.files.to_string()))
                (figure("layers", &report.layers.len().to_string()))
                (figure("distributions", &report.distributions.len().to_string()))
            }
            (budget(report))
        }
    }
}

fn figure(what: &str, value: &str) -> Markup {
    html! { div { dt { (what) } dd { (value) } } }
}

fn budget(report: &SizeReport) -> Markup {
    let Some(budget) = report.budget_bytes else { return Markup::default() };
    let over = Budget::check(report).err();
    let percent = percent(report.disk_bytes, budget);
    html! {
        section.budget.over[over.is_some()] {
            p {
                strong { (format!("{percent:.0} %")) }
                " of the budget of " (human_size(budget))
                @if let Some(over) = &over {
                    ", " (human_size(over.disk_bytes.saturating_sub(over.budget_bytes))) " too much"
                }
            }
            div.track { div.fill style=(format!("width:{:.2}%", percent.min(100.0))) {} }
            @if let Some(over) = &over {
                p { "The largest things to cut:" }
                ul { @for cut in &over.cuts { li { (name(&cut.what)) " " span.number { (human_size(cut.bytes)) } } } }
            }
        }
    }
}

/// Returns the groups of the map, which add up to the image's bytes on disk.
fn groups(report: &SizeReport) -> Vec<TileGroup> {
    let kinds = &report.kinds;
    let part = |name: &str, bytes: u64| Tile { name: name.to_owned(), bytes };
    let of_distributions: u64 = report.distributions.iter().map(|size| size.bytecode_bytes).sum();
    let of_packages: u64 = report.packages.iter().map(|size| size.disk_bytes).sum();
    let mut groups = vec![
        TileGroup::new(
            "distributions",
            "distributions",
            report.distributions.iter().map(|size| part(&size.name, size.disk_bytes)).collect(),
        ),
        TileGroup::new(
            "Python",
            "python",
            vec![
                part("standard library", kinds.interpreter),
                // Includes the project's own bytecode, a negligible part.
                part("bytecode", kinds.bytecode.saturating_sub(of_distributions)),
            ],
        ),
        TileGroup::new(
            "system",
            "system",
            report
                .packages
                .iter()
                .map(|size| part(&size.name, size.disk_bytes))
                .chain([
                    part("certificates, time zones, accounts", kinds.system_files),
                    part("other libraries", kinds.system_libraries.saturating_sub(of_packages)),
                ])
                .collect(),
        ),
        TileGroup::new(
            "project",
            "project",
            vec![
                part("source", kinds.source),
                part("environment", kinds.environment),
                part("added files", kinds.extra),
            ],
        ),
        TileGroup::new("base", "base", vec![part("base", kinds.base)]),
    ];
    groups.retain(|group| group.bytes() > 0);
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes()));
    groups
}

fn map(groups: &[TileGroup]) -> Markup {
    let total: u64 = groups.iter().map(TileGroup::bytes).sum();
    let weights: Vec<u64> = groups.iter().map(TileGroup::bytes).collect();
    html! {
        section {
            h2 { "Sizes" }
            ul.legend {
                @for group in groups {
                    li.(group.class) {
                        span.swatch {} (group.name) " "
                        span.number { (human_size(group.bytes())) }
                        span.share { (format!("{:.0} %", percent(group.bytes(), total))) }
                    }
                }
            }
            div.map role="img" aria-label="A map of the image: areas are sizes on disk. The tables below have the figures." {
                @for (group, area) in groups.iter().zip(squarify(&weights, MAP)) {
                    (tiles(group, area, total))
                }
            }
        }
    }
}

fn tiles(group: &TileGroup, area: Rectangle, total: u64) -> Markup {
    let weights: Vec<u64> = group.parts.iter().map(|part| part.bytes).collect();
    html! {
        @for (part, tile) in group.parts.iter().zip(squarify(&weights, area)) {
            @let size = human_size(part.bytes);
            @let place = format!(
                "left:{:.3}%;top:{:.3}%;width:{:.3}%;height:{:.3}%",
                tile.left / MAP.width * 100.0,
                tile.top / MAP.height * 100.0,
                tile.width / MAP.width * 100.0,
                tile.height / MAP.height * 100.0,
            );
            div.tile.(group.class) style=(place)
                title=(format!("{}: {size}, {:.1} %", name(&part.name), percent(part.bytes, total)))
            {
                // Labels that would be unreadable are omitted; the title contains them.
                @if tile.width >= 7.0 && tile.height >= 3.2 { b { (name(&part.name)) } }
                @if tile.width >= 9.0 && tile.height >= 5.6 { span { (size) } }
            }
        }
    }
}

fn layers(report: &SizeReport) -> Markup {
    let largest = report.layers.iter().map(|layer| layer.disk_bytes).max().unwrap_or(0);
    html! {
        section {
            h2 { "Layers" small { "lowest first; rarely changing layers are below" } }
            div.scroll { table {
                thead { tr { th { "layer" } th.bar { (key("disk", "disk")) (key("transfer", "transfer")) } th.n { "disk" } th.n { "transfer" } th.n { "files" } } }
                tbody { @for layer in &report.layers { (layer_row(layer, largest)) } }
            } }
        }
    }
}

fn layer_row(layer: &LayerSize, largest: u64) -> Markup {
    html! {
        tr {
            td title=(format!("blob {}\ndiff id {}", layer.digest, layer.diff_id)) {
                b { (name(&layer.name)) } p { (name(&layer.reason)) }
            }
            td.bar { div.track {
                div.fill.disk style=(width(layer.disk_bytes, largest)) {}
                div.fill.transfer style=(width(layer.transfer_bytes, largest)) {}
            } }
            td.n { (human_size(layer.disk_bytes)) }
            td.n { (human_size(layer.transfer_bytes)) }
            td.n { (layer.files) }
        }
    }
}

fn distributions(report: &SizeReport) -> Markup {
    if report.distributions.is_empty() {
        return Markup::default();
    }
    let largest = report.distributions.iter().map(|size| size.disk_bytes).max().unwrap_or(0);
    html! {
        section {
            h2 { "Distributions" }
            div.scroll { table {
                thead { tr {
                    th { "distribution" }
                    th.bar { (key("distributions", "files")) (key("bytecode", "bytecode")) }
                    th.n { "disk" } th.n { "bytecode" } th.n { "files" } th { "layer" }
                } }
                tbody { @for size in &report.distributions { (distribution_row(size, largest)) } }
            } }
        }
    }
}

fn distribution_row(size: &DistributionSize, largest: u64) -> Markup {
    let files = size.disk_bytes.saturating_sub(size.bytecode_bytes);
    html! {
        tr {
            td { b { (name(&size.name)) } " " span.version { (name(&size.version)) } }
            td.bar { div.track.row {
                div.fill.distributions style=(width(files, largest)) {}
                div.fill.bytecode style=(width(size.bytecode_bytes, largest)) {}
            } }
            td.n { (human_size(size.disk_bytes)) }
            td.n { (human_size(size.bytecode_bytes)) }
            td.n { (size.files) }
            td { (name(&size.layer)) }
        }
    }
}

fn packages(report: &SizeReport) -> Markup {
    if report.packages.is_empty() {
        return Markup::default();
    }
    let largest = report.packages.iter().map(|size| size.disk_bytes).max().unwrap_or(0);
    let row = |size: &PackageSize| {
        html! {
            tr {
                td { b { (name(&size.name)) } " " span.version { (name(&size.version)) } }
                td.bar { div.track { div.fill.system style=(width(size.disk_bytes, largest)) {} } }
                td.n { (human_size(size.disk_bytes)) }
                td.n { (size.files) }
            }
        }
    };
    html! {
        section {
            h2 { "System packages" small { "only the files that are in the image" } }
            div.scroll { table {
                thead { tr { th { "package" } th.bar {} th.n { "disk" } th.n { "files" } } }
                tbody { @for size in &report.packages { (row(size)) } }
            } }
        }
    }
}

fn source_files(report: &SizeReport) -> Markup {
    let Some(largest) = report.source_files.first() else { return Markup::default() };
    let row = |file: &SourceSize| {
        html! {
            tr {
                td { (name(&file.path)) }
                td.bar { div.track { div.fill.project style=(width(file.disk_bytes, largest.disk_bytes)) {} } }
                td.n { (human_size(file.disk_bytes)) }
            }
        }
    };
    html! {
        section {
            h2 { "Source files" small { "the largest" } }
            div.scroll { table {
                thead { tr { th { "file" } th.bar {} th.n { "disk" } } }
                tbody { @for file in &report.source_files { (row(file)) } }
            } }
        }
    }
}

/// Renders the legend entry of a bar's color.
fn key(class: &str, name: &str) -> Markup {
    html! { span.key.(class) { span.swatch {} (name) } }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn width(part: u64, whole: u64) -> String {
    format!("width:{:.2}%", percent(part, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::report;

    #[test]
    fn the_map_shows_every_byte_once() {
        let report = report();
        let shown: u64 = groups(&report).iter().map(TileGroup::bytes).sum();
        assert_eq!(shown, report.disk_bytes);
        let tiles: Vec<_> = groups(&report)
            .into_iter()
            .flat_map(|group| group.parts)
            .map(|part| (part.name, part.bytes))
            .collect();
        assert_eq!(tiles[0], ("standard library".to_owned(), 7_000_000));
        assert!(tiles.contains(&("bytecode".to_owned(), 2_000_000)), "{tiles:?}");
        assert!(!tiles.iter().any(|(_, bytes)| *bytes == 0), "{tiles:?}");
    }

    #[test]
    fn names_every_layer_distribution_and_package() {
        let page = render(&report());
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{page}");
        assert!(page.contains("<title>team/hello:1.0 (runtime): 20.0 MB</title>"), "{page}");
        for part in [
            "<dd>6.0 MB</dd>",
            "<b>dependencies</b> <p>the distributions that have no layer of their own</p>",
            "<b>fastapi</b> <span class=\"version\">1.0</span>",
            "<b>libc6</b> <span class=\"version\">2.36</span>",
            "title=\"anyio: 1.0 MB, 5.0 %\"",
            "<td>/app/a.py</td>",
        ] {
            assert!(page.replace("</b><p>", "</b> <p>").contains(part), "{part} is missing:\n{page}");
        }
        assert!(!page.contains("budget of"), "{page}");
    }

    #[test]
    fn is_self_contained_and_static() {
        let page = render(&report());
        for foreign in ["http://", "https://", "<script", "<link", "url(", "@import", "src="] {
            assert!(!page.contains(foreign), "{foreign}:\n{page}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let mut report = report();
        let hostile = "<script>alert(1)</script>\" onmouseover='x' & ]]>";
        hostile.clone_into(&mut report.image);
        hostile.clone_into(&mut report.distributions[0].name);
        hostile.clone_into(&mut report.distributions[0].version);
        hostile.clone_into(&mut report.layers[0].name);
        hostile.clone_into(&mut report.layers[0].reason);
        hostile.clone_into(&mut report.packages[0].name);
        hostile.clone_into(&mut report.source_files[0].path);
        report.budget_bytes = Some(1);
        let page = render(&report);
        assert!(!page.contains("<script") && !page.contains("\" onmouseover"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{page}");
    }

    #[test]
    fn suggests_cuts_over_budget() {
        let mut report = report();
        report.budget_bytes = Some(16_000_000);
        let page = render(&report);
        assert!(page.contains("class=\"budget over\""), "{page}");
        assert!(page.contains("4.0 MB too much") && page.contains("<li>fastapi 1.0"), "{page}");
        assert!(page.contains("width:100.00%"), "{page}");
        report.budget_bytes = Some(40_000_000);
        let page = render(&report);
        assert!(page.contains("<strong>50 %</strong>") && !page.contains("too much"), "{page}");
    }
}
