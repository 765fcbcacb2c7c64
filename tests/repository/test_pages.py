"""The pages of docs/ that show commands: each is run as it is printed there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import is_mounted, shared_mounts_allowed
from tests.support.programs import ESRFFS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pytestmark = needs_fuse


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL
    )


def run(*words: object, cwd: Path, **variables: str) -> str:
    """What a program says, on stdout or stderr, with this environment on the PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.replace("\xa0", " ")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with `experiment` in it; what is mounted there goes in the end."""
    made = run("python3", ROOT / "demo" / "make_experiment.py", "experiment", cwd=tmp_path)
    assert made == ""
    yield tmp_path
    for path in tmp_path.iterdir():
        if is_mounted(path):
            subprocess.run(["umount", "-l", path], check=False)


@pytest.fixture
def mounted(place: Path) -> Path:
    (place / "mnt").mkdir()
    assert run(ESRFFS, "experiment", "mnt", cwd=place) == ""
    return place


def at_a_terminal(command: str, cwd: Path) -> str:
    return run("script", "-qec", command, "/dev/null", cwd=cwd).replace("\r\n", "\n")


def test_five_minutes(place: Path) -> None:
    commands = [c for block in blocks("tutorial.md", "console") for c in block.split("$ ")[1:]]
    assert len(commands) > 12
    for command in commands:
        typed, _, answer = command.partition("\n")
        told = at_a_terminal if typed == "esrffs experiment" else run_shell
        assert told(typed, place).replace(str(place), "/tmp/try") == answer, typed
    assert not (place / "experiment.mnt").exists()


def shown(block: str) -> tuple[str, str]:
    """The commands of a console block as one script, and all that they answer."""
    commands: list[str] = []
    answers: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
        elif commands[-1].count("'") % 2:  # within a quoted program
            commands[-1] += f"\n{line}"
        else:
            answers.append(line)
    return "\n".join(commands), "".join(f"{line}\n" for line in answers)


@pytest.mark.parametrize("block", blocks("recipes.md", "console"), ids=lambda b: b[:30])
def test_recipes(block: str, mounted: Path) -> None:
    script, answer = shown(block)
    assert run("bash", "-ec", script, cwd=mounted) == answer


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="there is no gnuplot")
def test_one_frame_in_gnuplot(mounted: Path) -> None:
    """Gnuplot gives back as text what it took for the frame."""
    [plot] = blocks("recipes.md", "gnuplot")
    assert run("gnuplot", "-e", plot.replace("\n", ";"), cwd=mounted) == ""
    assert (mounted / "frame.png").read_bytes().startswith(b"\x89PNG")
    table = plot.splitlines()[-1].replace("plot ", "set table 'frame.txt'; plot ")
    run("gnuplot", "-e", table, cwd=mounted)
    values = np.loadtxt(mounted / "frame.txt", usecols=2)
    frame = np.load(mounted / "mnt/tomo.h5/entry/corrected/data.npy")[20]
    assert values.reshape(frame.shape) == pytest.approx(frame, rel=1e-4)


def run_shell(command: str, cwd: Path) -> str:
    return run("bash", "-c", command, cwd=cwd)


def readme(language: str, word: str) -> str:
    """The one block of the README that has this word in it."""
    [found] = [block for block in blocks("../README.md", language) if word in block]
    return found


def test_the_two_commands_of_the_readme(place: Path) -> None:
    mount, copy, unmount = readme("sh", "# mount\n").splitlines()
    (place / "mnt").mkdir()
    assert run_shell(mount, place) == ""
    assert (place / "mnt/tomo.h5/entry").is_dir()
    assert run_shell(copy, place) == ""
    with h5py.File(place / "alignment.dat.h5") as file:
        diode = np.load(place / "mnt/alignment.dat/2.1/measurement/diode.npy")
        assert np.array_equal(file["2.1/measurement/diode"][()], diode)
    assert run_shell(unmount, place) == ""
    assert os.listdir(place / "mnt") == []


def test_mounting_as_the_readme_says(place: Path) -> None:
    script = readme("sh", "fusermount3 -u")
    told = run("bash", "-exc", script, cwd=place)
    assert "\nattrs.json\ncorrected\n" in told
    assert '"source": "' + str(place / "experiment/tomo.h5") in told
    assert told.endswith("+ fusermount3 -u mnt\n")
    assert sorted(os.listdir(place)) == ["experiment", "mnt"]
    assert os.listdir(place / "mnt") == []


def test_reading_as_the_readme_says(mounted: Path) -> None:
    program = readme("python", "np.load") + "print(stack.shape, frame.max(), units)"
    stack = np.load(mounted / "mnt/tomo.h5/entry/data/data.npy")
    said = run("python3", "-c", program, cwd=mounted)
    assert said == f"{stack.shape} {stack[20].max()} counts\n"
    told = run("bash", "-ec", readme("sh", "find mnt"), cwd=mounted).splitlines()
    assert 'user.esrffs.value="phantom, 60 projections over 180 degrees"' in told
    assert "NXentry" in told
    attributes = told[told.index("NXentry") + 1 :]
    assert all(line.startswith("{") for line in attributes)
    assert len(attributes) > 5
    assert (mounted / "2.1/measurement/diode.npy").is_file()


def test_asking_what_is_wrong(mounted: Path) -> None:
    """The commands of troubleshooting.md, where they apply: to a file that is cut short."""
    whole = (mounted / "experiment/tomo.h5").read_bytes()
    (mounted / "experiment/scan.h5").write_bytes(whole[: len(whole) // 2])
    [script] = blocks("troubleshooting.md", "sh")
    of_object, of_file, _ = script.splitlines()
    assert "Input/output error" in run_shell(of_object, mounted), "it is not known"
    assert "scan.h5" in run_shell(of_file, mounted)


@pytest.mark.parametrize("program", blocks("use-from.md", "python"), ids=["numpy"])
def test_python(program: str, mounted: Path) -> None:
    expected = np.load(mounted / "mnt/tomo.h5/entry/corrected/data.npy")[20].mean()
    assert run("python3", "-c", program, cwd=mounted) == f"{expected!s} deg\n"


def test_shell(mounted: Path) -> None:
    [script] = blocks("use-from.md", "sh")
    lines = run("bash", "-ec", script + "echo end", cwd=mounted).splitlines()
    assert lines[-1] == "end"
    assert lines[3] == "deg"
    diode = np.load(mounted / "mnt/alignment.dat/2.1/measurement/diode.npy")
    assert [float(word) for line in lines[4:-1] for word in line.split()] == diode[:4].tolist()
    assert np.load(mounted / "scan2/measurement/diode.npy").tolist() == diode.tolist()


def test_views(mounted: Path) -> None:
    [script] = blocks("views.md", "sh")
    said = run("bash", "-ec", script, cwd=mounted).splitlines()
    assert said[-1] == "tif:tifs:edf:edfs:pngs"
    corrected = np.load(mounted / "mnt/tomo.h5/entry/corrected/data.npy")
    assert np.array_equal(tifffile.imread(mounted / "corrected.tif"), corrected)
    assert np.array_equal(tifffile.imread(mounted / "frames/0003.tif"), corrected[3])
    diode = np.load(mounted / "mnt/alignment.dat/2.1/measurement/diode.npy")
    table = np.genfromtxt(mounted / "scan2.csv", delimiter=",", names=True)
    assert np.array_equal(table["diode"], diode)
    with h5py.File(mounted / "alignment.dat.h5") as file:
        assert np.array_equal(file["2.1/measurement/diode"][()], diode)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_c(mounted: Path) -> None:
    [program] = blocks("use-from.md", "c")
    (mounted / "sum.c").write_text(program)
    assert run("cc", "-Wall", "-Wextra", "-Werror", "-o", "sum", "sum.c", cwd=mounted) == ""
    name = "mnt/alignment.dat/2.1/measurement/diode.npy"
    assert float(run("./sum", name, cwd=mounted)) == pytest.approx(np.load(mounted / name).sum())


@pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R")
def test_r(mounted: Path) -> None:
    function, program = blocks("use-from.md", "r")
    (mounted / "npy.R").write_text(function)
    diode = np.load(mounted / "mnt/alignment.dat/2.1/measurement/diode.npy")
    stack = np.load(mounted / "mnt/tomo.h5/entry/corrected/data.npy")
    *shape, mean = run("Rscript", "-e", program, cwd=mounted).split()
    assert [float(word) for word in shape] == [diode.max(), *reversed(stack.shape)]
    assert float(mean) == pytest.approx(stack[20].mean(), 1e-5)
    show = 'source("npy.R"); a <- npy("array.npy"); cat(dim(a), a)'
    for dtype in (">f4", "<f8", "<i4", ">i2", "|u1", "<u2"):
        np.save(mounted / "array.npy", np.arange(24).reshape(2, 3, 4).astype(dtype))
        shown = run("Rscript", "-e", show, cwd=mounted)
        assert [float(word) for word in shown.split()] == [4, 3, 2, *range(24)], dtype


def octave(program: str, cwd: Path) -> str:
    """What it prints; what some of its builds complain of at their end is dropped."""
    return run("bash", "-c", 'octave-cli --eval "$0" 2>/dev/null', program, cwd=cwd)


@pytest.mark.skipif(not shutil.which("octave-cli"), reason="there is no Octave")
def test_matlab(mounted: Path) -> None:
    function, program = blocks("use-from.md", "matlab")
    (mounted / "npy.m").write_text(function)
    diode = np.load(mounted / "mnt/alignment.dat/2.1/measurement/diode.npy")
    stack = np.load(mounted / "mnt/tomo.h5/entry/corrected/data.npy")
    *shape, mean, units = octave(program, mounted).split()
    assert [float(word) for word in shape] == [diode.max(), *reversed(stack.shape)]
    assert float(mean) == pytest.approx(stack[20].mean(), 1e-5)
    assert units == "deg"
    show = "a = npy('array.npy'); printf('%g ', size(a), a)"
    for dtype in (">f4", "<f8", "<i8", ">u4", "|u1", "<u2"):
        np.save(mounted / "array.npy", np.arange(24).reshape(2, 3, 4).astype(dtype))
        shown = octave(show, mounted)
        assert [float(word) for word in shown.split()] == [4, 3, 2, *range(24)], dtype
    np.save(mounted / "array.npy", np.float64(7))
    assert octave("disp(npy('array.npy'))", mounted) == "7\n"


IMAGEJ = Path("/usr/share/java/ij.jar")


@pytest.mark.skipif(
    not IMAGEJ.exists() or not shutil.which("xvfb-run"), reason="there is no ImageJ, or no Xvfb"
)
def test_imagej(mounted: Path) -> None:
    [macro] = blocks("use-from.md", "ijm")
    (mounted / "macro.ijm").write_text(macro)
    path = mounted / "mnt/tomo.h5/entry/corrected/data.npy"
    java = ("java", "-jar", IMAGEJ, "-batch", mounted / "macro.ijm", path)
    told = run("xvfb-run", "-a", *java, cwd=mounted, HOME=str(mounted))
    frames, mean = told.splitlines()[-1].split()
    assert int(frames) == 60
    assert float(mean) == pytest.approx(np.load(path)[20].mean(), abs=1e-4)


def test_a_job_of_slurm(place: Path) -> None:
    """The scripts of the page, with folders and a program of ours."""
    (place / "analysis.py").write_text("import os, sys; print(len(os.listdir(sys.argv[1])))")
    job, sweep = (
        block.replace("/tmp/", f"{place}/").replace("/data/visitor/ma1234", f"{place}/experiment")
        for block in blocks("cluster.md", "sh")[:2]
    )
    slurm = {"SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(place), "USER": "ada"}
    assert run("bash", "-c", job, cwd=place, **slurm) == "4\n"
    assert (place / "esrffs-17.log").is_file()
    assert list(place.glob("esrffs-ada-*")) == []
    left = place / "esrffs-ada-18"  # by a job that was killed
    left.mkdir()
    assert run(ESRFFS, "experiment", left, cwd=place) == ""
    assert run("bash", "-c", sweep, cwd=place, **slurm) == ""
    assert not left.exists()


def test_a_job_of_slurm_at_its_time_limit(place: Path) -> None:
    """The script unmounts, though its program has a file of the mount open when TERM comes."""
    (place / "analysis.py").write_text(
        "import signal, sys\n"
        "file = open(sys.argv[1] + '/tomo.h5/entry/corrected/data.npy', 'rb')\n"
        "print('open', flush=True)\n"
        "signal.pause()\n"
    )
    job = blocks("cluster.md", "sh")[0].replace("/tmp/", f"{place}/")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    slurm = {"SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(place), "USER": "ada", "PATH": path}
    with subprocess.Popen(
        ["bash", "-c", job.replace("/data/visitor/ma1234", f"{place}/experiment")],
        cwd=place,
        env={**os.environ, **slurm},
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "open\n"
        script.terminate()
        assert script.wait(120) == 143
    assert list(place.glob("esrffs-ada-*")) == []


@pytest.mark.skipif(
    not shared_mounts_allowed(), reason="no line user_allow_other in /etc/fuse.conf, and not root"
)
def test_what_slurm_does_before_and_after_a_job(place: Path) -> None:
    prolog, epilog = blocks("cluster.md", "sh")[2:4]
    for script in (prolog, epilog):
        here = script.replace("/run/esrffs", str(place / "jobs")).replace(
            "/data/visitor", "experiment"
        )
        assert run("bash", "-ec", here, cwd=place, SLURM_JOB_ID="17") == ""
        assert is_mounted(place / "jobs/17") == (script is prolog)
    assert os.listdir(place / "jobs") == []


def test_dask_with_two_worker_processes(mounted: Path) -> None:
    command = blocks("cluster.md", "sh")[4].replace("examples/", f"{ROOT}/examples/")
    assert run_shell(command, mounted) == "60 frames by 2 workers\n"
    stack = np.load(mounted / "mnt/tomo.h5/entry/corrected/data.npy")
    expected = [np.nanmean(frame, dtype=np.float64) for frame in stack]
    assert np.load(mounted / "means.npy").tolist() == expected
    program = blocks("cluster.md", "python")[0] + (
        "import pickle\nprint(mean.mean(), len(pickle.dumps(lazy.__dask_graph__().to_dict())))"
    )
    average, graph_nbytes = run("python3", "-c", program, cwd=mounted).split()
    assert float(average) == pytest.approx(stack.mean(), 1e-5)
    assert int(graph_nbytes) < stack.nbytes // 100, "frames are in the graph"


@as_root
def test_mount_by_hand_and_by_fstab(place: Path) -> None:
    """In a view of the files of its own, where the helper is installed and the folders exist."""
    by_hand = blocks("fstab.md", "sh")[0]
    lines = "\n".join(blocks("fstab.md", "fstab"))
    for name in ("data", "mnt", "sbin"):
        (place / name).mkdir()
    for name in ("visitor", "inhouse", "archive"):
        (place / "data" / name).symlink_to(place / "experiment")
        (place / "mnt" / name).mkdir()
    (place / "sbin/mount.esrffs").symlink_to(ESRFFS.with_name("mount.esrffs"))

    def here(text: str) -> str:
        return text.replace("/data/", f"{place}/data/").replace("/mnt/", f"{place}/mnt/")

    (place / "fstab").write_text(here(lines))
    script = f"""set -e
        export PATH=/usr/bin:/bin:{ESRFFS.parent}
        mount --bind {place}/sbin /usr/sbin
        mount --bind {place}/fstab /etc/fstab
        {here(by_hand)}
        for name in visitor inhouse archive; do
            mount {place}/mnt/$name && ls {place}/mnt/$name/tomo.h5 && umount {place}/mnt/$name
        done
    """
    assert run("unshare", "--mount", "bash", "-c", script, cwd=place).split() == (
        ["attrs.json", "entry"] * 3
    )
