"""A PC of another processor: Debian's kernel on Bochs, a program that interprets each instruction, with a memory disk made here.

Nothing is installed and no root is needed: Debian's packages are downloaded and unpacked into a folder. A machine boots, runs its
tasks one after the other, writes what they print to its serial port, which is a file here, and switches itself off.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import stat
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

# What the emulator, the disk and the tasks need; with what they need themselves, in so far as the system does not have it.
PACKAGES = ["bochs", "bochs-term", "bochsbios", "vgabios", "isolinux", "syslinux-common", "genisoimage", "busybox-static"]
# Stands for the newest kernel, whose package has a version in its name. The one for clouds is small and boots quickly.
KERNEL = "linux-image-cloud-amd64"
LIBRARIES = "usr/lib/x86_64-linux-gnu"

# Instructions in a second of the machine's own time. There a low number makes the waits of a boot short: what waits for the serial
# port or for a timer waits for fewer instructions.
INSTRUCTIONS_PER_SECOND = 20_000_000
MEGABYTES = 1024

# What is said before and after a task's output. Nothing else begins with it.
MARK = "#### task"

CONFIGURATION = """\
cpu: model={processor}, count=1, ips={ips}, reset_on_triple_fault=0
memory: guest={megabytes}, host={megabytes}
romimage: file={share}/bochs/BIOS-bochs-latest
vgaromimage: file={share}/vgabios/vgabios.bin
ata0: enabled=1
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
clock: sync=none
magic_break: enabled=0
sound: driver=dummy
display_library: term
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
"""

KERNEL_OPTIONS = " ".join(
    [
        # What is printed goes to the serial port, and nothing of the kernel's but its last words.
        "console=ttyS0,115200 loglevel=1",
        # A kernel that gives up ends the emulator.
        "panic=-1 reboot=triple",
        # Of what the processor has, the kernel must not know the following. Bochs is wrong about the size of some registers that are
        # saved: all in compact form (XSAVEC, XSAVES: 321, 323), and PKRU (515), so that the kernel leaves all of AVX alone. With FSRM
        # (580), fast copies of a few bytes, it faults before its first program.
        "clearcpuid=321,323,515,580",
        # The processor says that it runs at gigahertz, by which the kernel would wait a hundred times too long.
        "notsc lapic=notscdeadline clocksource=acpi_pm lpj=10000",
        # Nothing that tests itself or protects from others.
        "mitigations=off lsm= audit=0 cryptomgr.notests ipv6.disable=1 random.trust_cpu=on",
    ]
)

INIT = """\
#!/bin/busybox sh
export PATH=/bin HOME=/tmp TMPDIR=/tmp
busybox mkdir -p /dev /proc /sys /tmp
busybox mount -t devtmpfs none /dev
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
cd /tmp
{tasks}
# Until the serial port has sent all.
busybox sleep 1
busybox poweroff -f
"""

TASK = """\
echo '{mark} begins: {name}'
{command} 2>/tmp/errors
code=$?
[ $code = 0 ] || busybox cat /tmp/errors
echo
echo "{mark} ends: $code"
"""


@dataclass(frozen=True)
class Task:
    """A command of the machine, whose files have the names that they have in its root."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def script(self) -> str:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return TASK.format(mark=MARK, name=self.name, command=shlex.join(["busybox", "env", *variables, *self.command]))


@dataclass(frozen=True)
class Outcome:
    """What a task has printed, with its errors if its exit code is not 0. Without a code it has not come to its end."""

    output: str
    code: int | None


class MachineError(Exception):
    """The machine did not do what was asked: why, and where to look."""


def unpack_packages(folder: Path) -> Path:
    """Downloads what is missing in `folder` and unpacks it. Returns the root of what is unpacked."""
    root = folder / "root"
    if (folder / "complete").exists():
        return root
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    # Nothing is installed: apt only says what would be. What the system has already is not named, so it is asked for by name.
    plan = captured("apt-get", "install", "--simulate", "--no-install-recommends", *PACKAGES)
    missing = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    kernel = re.search(r"Depends: (linux-image-\S+)", captured("apt-cache", "depends", KERNEL))
    if kernel is None:
        raise MachineError(f"{KERNEL} is not among Debian's packages here (apt-cache depends {KERNEL})")
    captured("apt-get", "download", *sorted({*missing, *PACKAGES, kernel[1]}), cwd=downloads)
    for package in sorted(downloads.glob("*.deb")):
        captured("dpkg", "-x", str(package), str(root))
    (folder / "complete").touch()
    return root


def captured(*command: str, **options) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
    except FileNotFoundError:
        raise MachineError(f"{command[0]} is not here: this needs Debian, or another system with apt") from None
    except subprocess.CalledProcessError as failed:
        raise MachineError(f"{shlex.join(command)} failed: {failed.stderr.strip()}") from None


def memory_disk(files: dict[str, bytes]) -> bytes:
    """The initramfs: programs by their paths in it, in the format `newc` of cpio, which the kernel reads."""
    entries = {"bin": (stat.S_IFDIR | 0o755, 0, b""), "dev": (stat.S_IFDIR | 0o755, 0, b"")}
    # The kernel gives it to init for standard output, before there is anything that makes devices.
    entries["dev/console"] = (stat.S_IFCHR | 0o600, os.makedev(5, 1), b"")
    entries |= {path: (stat.S_IFREG | 0o755, 0, content) for path, content in files.items()}
    parts = []
    for number, (path, (mode, device, content)) in enumerate([*entries.items(), ("TRAILER!!!", (0, 0, b""))], start=1):
        name = path.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, os.major(device), os.minor(device), len(name), 0]
        head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
        parts += [head, b"\0" * (-len(head) % 4), content, b"\0" * (-len(content) % 4)]
    return b"".join(parts)


class Machine:
    """`root` is that of the unpacked packages; disks, logs and outputs go into `folder`."""

    def __init__(self, root: Path, folder: Path, processor: str) -> None:
        self.root, self.folder, self.processor = root, folder, processor
        self.iso, self.serial, self.log = folder / "boot.iso", folder / "serial.txt", folder / "bochs.log"
        libraries = root / LIBRARIES
        self.environment = os.environ | {
            "LD_LIBRARY_PATH": str(libraries),
            "LTDL_LIBRARY_PATH": str(libraries / "bochs/plugins"),
            "BXSHARE": str(root / "usr/share/bochs"),
            "TERM": "linux",
        }

    def run(self, tasks: list[Task], programs: dict[str, Path], seconds: float) -> dict[str, Outcome]:
        """Boots, runs the tasks and returns what came of each. `programs` are static, and lie in the root by their names.

        Raises `MachineError` where a task has not come to its end after so many `seconds`, or the machine went down before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.serial.unlink(missing_ok=True)
        self.write_iso(tasks, programs)
        self.emulate(seconds)
        return self.outcomes(tasks)

    def write_iso(self, tasks: list[Task], programs: dict[str, Path]) -> None:
        disk = self.folder / "iso"
        disk.mkdir(exist_ok=True)
        files = {f"bin/{name}": path.read_bytes() for name, path in programs.items()}
        files["bin/busybox"] = (self.root / "bin/busybox").read_bytes()
        files["init"] = INIT.format(tasks="".join(task.script() for task in tasks)).encode()
        (disk / "initrd").write_bytes(memory_disk(files))
        (disk / "linux").write_bytes(next((self.root / "boot").glob("vmlinuz-*")).read_bytes())
        (disk / "isolinux.bin").write_bytes((self.root / "usr/lib/ISOLINUX/isolinux.bin").read_bytes())
        (disk / "ldlinux.c32").write_bytes((self.root / "usr/lib/syslinux/modules/bios/ldlinux.c32").read_bytes())
        label = f"DEFAULT linux\nLABEL linux\nKERNEL linux\nINITRD initrd\nAPPEND {KERNEL_OPTIONS}\n"
        (disk / "isolinux.cfg").write_text(label)
        genisoimage = [str(self.root / "usr/bin/genisoimage"), "-quiet", "-o", str(self.iso), "-b", "isolinux.bin", "-c", "boot.cat"]
        captured(*genisoimage, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", str(disk), env=self.environment)

    def emulate(self, seconds: float) -> None:
        configuration = self.folder / "bochsrc"
        configuration.write_text(
            CONFIGURATION.format(
                processor=self.processor, ips=INSTRUCTIONS_PER_SECOND, megabytes=MEGABYTES, share=self.root / "usr/share",
                iso=self.iso, serial=self.serial, log=self.log,
            )
        )  # fmt: skip
        # Debian's Bochs is a debugger, and waits to be told to go on.
        debugger = self.folder / "debugger"
        debugger.write_text("continue\nquit\n")
        # Bochs draws the machine's screen on a terminal. It has one of its own, at which nobody looks.
        controller, terminal = pty.openpty()
        bochs = [str(self.root / "usr/bin/bochs-bin"), "-q", "-f", str(configuration), "-rc", str(debugger)]
        # It ends with this program, whatever ends that.
        command = ["setpriv", "--pdeathsig", "KILL", *bochs]
        emulator = subprocess.Popen(command, env=self.environment, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        threading.Thread(target=drain, args=(controller,), daemon=True).start()
        try:
            emulator.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            emulator.kill()
            emulator.wait()

    def outcomes(self, tasks: list[Task]) -> dict[str, Outcome]:
        text = self.serial.read_text(errors="replace").replace("\r\n", "\n") if self.serial.exists() else ""
        pattern = rf"^{MARK} begins: (.*)\n((?s:.*?))\n^{MARK} ends: (\d+)$"
        ended = {name: Outcome(output, int(code)) for name, output, code in re.findall(pattern, text, re.MULTILINE)}
        for task in tasks:
            if task.name not in ended:
                raise MachineError(f"{self.processor}: {task.name!r} has not come to its end; see {self.serial} and {self.log}")
        return ended


def drain(terminal: int) -> None:
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:
        pass  # The other end is closed: the emulator has ended.
