"""Pages of the site that are files outside docs/, and links to them."""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Files of the repository by their pages. Other files of the repository have no page, and links to them become text.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s]+)\)")


def on_config(config):
    """Lists the pages that the navigation leaves out, except those of frameworks and servers."""
    docs = pathlib.Path(config.docs_dir)
    listed = {page for section in config.nav for place in section.values() for page in ([place] if isinstance(place, str) else place)}
    pages = sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))
    others = [page for page in pages if page not in listed and not page.startswith(("frameworks/", "servers/"))]
    if others:
        config.nav.append({"More": others})
    return config


def on_files(files, config):
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    style = pathlib.Path(__file__).with_name("extra.css").read_text()
    files.append(File.generated(config, "extra.css", content=style))
    for recipe in sorted((ROOT / "layers").glob("*.toml")):
        files.append(File.generated(config, f"layers/{recipe.name}", content=recipe.read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Points links to the pages of the site."""
    folder = pathlib.PurePosixPath(page.file.src_uri).parent
    is_outside = page.file.src_uri in PAGES.values()

    def target(link):
        path, mark, anchor = link.partition("#")
        if not path or ":" in path:
            return link
        # The path from the root of the repository.
        parts = [] if is_outside else ["docs", *folder.parts]
        for part in path.split("/"):
            parts = parts[:-1] if part == ".." else [*parts, part] if part not in ("", ".") else parts
        path = "/".join(parts)
        page_path = PAGES.get(path)
        if path.startswith("docs/"):
            page_path = path.removeprefix("docs/")
        elif path.startswith("layers/"):
            page_path = path
        if page_path is None:
            repository = config.repo_url
            return f"{repository.rstrip('/')}/blob/main/{path}" if repository else None
        up = "../" * len(folder.parts)
        return f"{up}{page_path}{mark}{anchor}"

    def replaced(match):
        image, text, link = match.groups()
        link = target(link)
        return text if link is None else f"{image}[{text}]({link})"

    # Links may span lines; code has none.
    parts, code = [], False
    for part in re.split(r"((?:^```.*?^```$\n?|^ {4}[^\n]*\n?)+)", markdown, flags=re.MULTILINE | re.DOTALL):
        parts.append(part if code else LINK.sub(replaced, part))
        code = not code
    return "".join(parts)
