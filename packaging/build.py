"""Builds what a release publishes for this machine's architecture: wheel, sdist, crate, archive, and what the image is made of.

All is compiled alike, C by zig's compiler for the C library of manylinux2014, and linked twice: by zig to the wheel's module, and by the
system's C compiler to a binary with the C library in it. Run it by `make dist`.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FEATURES = "parquet"
# Of a target: zig's name for it with the C library of manylinux2014, and docker's name for the architecture.
TARGETS = {
    "x86_64-unknown-linux-gnu": ("x86_64-linux-gnu.2.17", "amd64"),
    "aarch64-unknown-linux-gnu": ("aarch64-linux-gnu.2.17", "arm64"),
}
# 1980: the first time that a zip file can say.
EARLIEST = 315_532_800
LICENCE_NAMES = re.compile(r"(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)


def run(*command, **options):
    subprocess.run(list(map(str, command)), cwd=REPOSITORY, check=True, **options)


def output(*command):
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def host():
    return re.search(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]


def version():
    return re.search(r'^version = "(.*)"$', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]


def commit_time():
    """Seconds of the commit: the time of all that is packed, so that a tree gives the same bytes whenever it is built."""
    try:
        return int(output("git", "log", "-1", "--format=%ct"))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return EARLIEST


class Build:
    def __init__(self, out, profile):
        self.out, self.profile, self.version = out, profile, version()
        self.target = host()
        if self.target not in TARGETS:
            sys.exit(f"error: {self.target} is none of what is built here ({', '.join(TARGETS)}): build on Linux")
        self.zig, self.architecture = TARGETS[self.target]
        self.seconds = commit_time()
        self.target_folder = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
        built = "debug" if profile == "dev" else profile
        self.binary = self.target_folder / self.target / built / "layerwise"
        self.environment = self.build_environment()

    def build_environment(self):
        """What cargo and maturin are run with. Paths of this machine are left out of what they build."""
        home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
        paths = {home: "/cargo", REPOSITORY: "/layerwise"}
        name = self.target.replace("-", "_")
        scripts = Path(sys.executable).parent
        return {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(self.target_folder),
            "CARGO_INCREMENTAL": "0",
            # The time of what maturin packs. Not the commit's: C is compiled anew whenever it changes.
            "SOURCE_DATE_EPOCH": str(EARLIEST),
            "RUSTFLAGS": " ".join(f"--remap-path-prefix={path}={short}" for path, short in paths.items()),
            f"CFLAGS_{name}": " ".join(f"-ffile-prefix-map={path}={short}" for path, short in paths.items()),
            f"CC_{name}": str(REPOSITORY / "packaging/zig-cc"),
            f"CARGO_TARGET_{name.upper()}_LINKER": str(REPOSITORY / "packaging/zig-cc"),
            "ZIG_TARGET": self.zig,
            "PACKAGING_PYTHON": sys.executable,
        }

    def cargo(self, command, package, *rest):
        options = ["--locked", "--profile", self.profile, "--target", self.target, "--features", FEATURES]
        run("cargo", command, "--package", package, *options, *rest, env=self.environment)

    def static_binary(self):
        """The command with the C library in it. Its linker is the system's, as zig has no C library to link in."""
        static = ["-C", "target-feature=+crt-static", "-C", "linker=cc"]
        self.cargo("rustc", "layerwise", "--bin", "layerwise", "--", *static)

    def wheel(self):
        """For every Python from 3.10 on, and for every Linux with glibc 2.17 or later."""
        with self.licences_beside_the_package():
            run("maturin", "build", "--quiet", "--locked", "--manifest-path", "python/Cargo.toml", "--profile", self.profile,
                "--target", self.target, "--features", FEATURES, "--compatibility", "manylinux2014", "--out", self.out,
                env=self.environment)  # fmt: skip

    def sdist(self):
        run("maturin", "sdist", "--manifest-path", "python/Cargo.toml", "--out", self.out, env=self.environment)

    def crate(self):
        is_clean = not output("git", "status", "--porcelain")
        run("cargo", "package", "--quiet", "--locked", "--no-verify", "--package", "layerwise",
            *([] if is_clean else ["--allow-dirty"]), env=self.environment)  # fmt: skip
        name = f"layerwise-{self.version}.crate"
        shutil.copy(self.target_folder / "package" / name, self.out / name)

    @contextmanager
    def licences_beside_the_package(self):
        """maturin puts into a wheel what lies under such names beside pyproject.toml."""
        files = {REPOSITORY / "python/LICENSE": (REPOSITORY / "LICENSE").read_text(),
                 REPOSITORY / "python/NOTICE-third-party.txt": self.third_party()}  # fmt: skip
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            for file in files:
                file.unlink()

    def third_party(self):
        """The licences of every crate in the binary, and of the C libraries in them, each text once."""
        tree = output("cargo", "tree", "--locked", "--package", "layerwise", "--features", FEATURES, "--target", self.target,
                      "--edges", "normal", "--prefix", "none", "--format", "{p}|{l}")  # fmt: skip
        used = {}
        for line in tree.splitlines():
            package, licence = line.split("|")
            name, number = package.split()[:2]
            used[name, number.removeprefix("v")] = licence.removesuffix(" (*)")
        metadata = json.loads(output("cargo", "metadata", "--locked", "--features", FEATURES, "--format-version", "1"))
        folders = {(p["name"], p["version"]): Path(p["manifest_path"]).parent for p in metadata["packages"]}
        of_text, names = {}, []
        for package, licence in sorted(used.items()):
            if package[0] == "layerwise":
                continue
            names.append(f"{package[0]} {package[1]}: {licence}\n")
            for file in licence_files(folders[package]):
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                below = file.parent.relative_to(folders[package])
                of_text.setdefault(text, []).append(f"{package[0]}" + (f" ({below})" if below.parts else ""))
        title = (f"What layerwise {self.version} is made of beside its own code, and under which licences.\n\n"
                 "Rust's standard library: MIT OR Apache-2.0\n"
                 "The GNU C Library, in the static binary alone: LGPL-2.1-or-later. `make dist` of the source links it anew.\n")  # fmt: skip
        texts = (f"\n{'=' * 100}\n{', '.join(dict.fromkeys(packages))}\n\n{text}\n" for text, packages in of_text.items())
        return title + "".join(names) + "".join(texts)

    def root(self):
        """What the archive has in its folder: file name to bytes and mode."""
        command = [str(self.binary)]
        files = {"layerwise": (self.binary.read_bytes(), 0o755)}
        for name in ("README.md", "CHANGELOG.md", "LICENSE"):
            files[name] = ((REPOSITORY / name).read_bytes(), 0o644)
        files["NOTICE-third-party.txt"] = (self.third_party().encode(), 0o644)
        for shell, name in {"bash": "layerwise.bash", "zsh": "_layerwise", "fish": "layerwise.fish"}.items():
            script = subprocess.run([*command, "completions", shell], check=True, stdout=subprocess.PIPE).stdout
            files[f"completions/{name}"] = (script, 0o644)
        pages = self.out / "man"
        self.cargo("run", "layerwise-manual", "--", pages, time.strftime("%Y-%m-%d", time.gmtime(self.seconds)))
        for page in sorted(pages.iterdir()):
            files[f"man/{page.name}"] = (page.read_bytes(), 0o644)
        shutil.rmtree(pages)
        return files

    def archive(self, files):
        name = f"layerwise-{self.version}-{self.target}"
        write_archive(self.out / f"{name}.tar.gz", {f"{name}/{path}": file for path, file in files.items()}, self.seconds)

    def image_root(self, files):
        """The root of the image's file system, as a folder `linux-ARCHITECTURE` beside the Dockerfile."""
        context = self.out / "image"
        root = context / f"linux-{self.architecture}"
        for folder in ("usr/bin", "usr/share/doc/layerwise"):
            (root / folder).mkdir(parents=True)
        # Whoever it is run as (`--user`) may write where a job writes.
        for folder in ("tmp", "cache", "work"):
            (root / folder).mkdir()
            (root / folder).chmod(0o1777)
        shutil.copy(self.binary, root / "usr/bin/layerwise")
        for name in ("LICENSE", "NOTICE-third-party.txt"):
            (root / "usr/share/doc/layerwise" / name).write_bytes(files[name][0])
        shutil.copy(REPOSITORY / "packaging/Dockerfile", context / "Dockerfile")
        for path in [*context.rglob("*"), context]:
            os.utime(path, (self.seconds, self.seconds))


def licence_files(folder):
    """The licences in a package, also those of C libraries a few folders down."""
    found = [path for depth in range(4) for path in folder.glob("*/" * depth + "*") if LICENCE_NAMES.match(path.name)]
    return sorted(path for path in found if path.is_file() and not {"tests", "target"} & set(path.relative_to(folder).parts))


def write_archive(path, files, seconds):
    """A .tar.gz whose bytes follow from those of its files: sorted, of one time, of nobody."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            folders = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
            for name in sorted({*files, *folders}):
                content, mode = files.get(name, (b"", 0o755 | stat.S_IFDIR))
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.REGTYPE if name in files else tarfile.DIRTYPE
                entry.size, entry.mode, entry.mtime = len(content), mode & 0o7777, seconds
                archive.addfile(entry, io.BytesIO(content))


def write_checksums(out):
    files = sorted(path for path in out.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder for what is built, which is emptied")
    parser.add_argument("--profile", default="release", help="cargo's profile; what is published is of the default")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    build = Build(out, arguments.profile)
    build.static_binary()
    build.wheel()
    build.sdist()
    build.crate()
    files = build.root()
    build.archive(files)
    build.image_root(files)
    write_checksums(out)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.name}" if path.is_file() else f"            {path.name}/")
    others = ", ".join(target for target in TARGETS if target != build.target)
    print(f"not built here: {others}, which is built on a machine of its own (.github/workflows/release.yml)")


if __name__ == "__main__":
    main()
