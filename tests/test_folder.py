"""A folder or zip of one's own: which images it holds, of which classes, and what is wrong with it."""

import pickle
import sys
import zipfile
from io import BytesIO

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from dynaconv.data.folder import Zip, list_images, relabel
from dynaconv.errors import DataError
from tests.pictures import CLASSES, numbers, write_pictures, zipped


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "animals")


def read_all(path, split="train"):
    """Return the numbers, labels and classes of a split."""
    files = list_images(path, split, 32)
    return numbers(files.take(torch.arange(len(files)))), files.labels.tolist(), files.classes


def refused(path):
    with pytest.raises(DataError) as caught:
        list_images(path, "train", 32)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


TRAIN = (list(range(12)), [0] * 4 + [1] * 4 + [2] * 4, CLASSES)
TEST = (list(range(12, 18)), [0, 0, 1, 1, 2, 2], CLASSES)


@pytest.mark.parametrize("pack", ["folder", "zip"])
@pytest.mark.parametrize("outer", ["", "outer", "train images"])
def test_images_come_by_split_and_class_in_order(pack, outer, tmp_path):
    write_pictures(tmp_path / "data" / outer)
    path = zipped(tmp_path / "data") if pack == "zip" else tmp_path / "data"
    assert read_all(path, "train") == TRAIN
    assert read_all(path, "test") == TEST


@pytest.mark.parametrize("pack", ["folder", "zip"])
@pytest.mark.parametrize("outer", ["", "outer"])
def test_what_systems_leave_in_folders_is_passed_over(pack, outer, tmp_path):
    root = write_pictures(tmp_path / "data" / outer)
    hidden = (".DS_Store", "train/cat/.DS_Store", "train/cat/._000.png", "train/.checkpoints/000.png")
    others = ("train/dog/Thumbs.db", "train/dog/desktop.ini", "__MACOSX/train/cat/000.png", "train/notes.txt")
    for name in (*hidden, *others):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no image")
    (tmp_path / "data" / "__MACOSX").mkdir(exist_ok=True)
    (tmp_path / "data" / "__MACOSX" / "._outer").write_bytes(b"no image")
    path = zipped(tmp_path / "data") if pack == "zip" else tmp_path / "data"
    assert read_all(path, "train") == TRAIN
    assert read_all(path, "test") == TEST


@pytest.mark.parametrize("pack", ["folder", "zip"])
def test_folders_within_a_class_belong_to_it(pack, folder, tmp_path):
    inner = folder / "train" / "cat" / "2019" / "June"
    inner.mkdir(parents=True)
    (folder / "train" / "cat" / "001.png").rename(inner / "001.png")
    found, labels, classes = read_all(zipped(folder) if pack == "zip" else folder)
    assert dict(zip(found, labels, strict=True)) == dict(zip(TRAIN[0], TRAIN[1], strict=True))
    assert classes == CLASSES


@pytest.mark.parametrize("pack", ["folder", "zip"])
def test_names_may_have_spaces_dots_and_letters_of_any_script(pack, tmp_path):
    names = ("Hund & Katze", "St. Bernard", "été", "猫")
    path = write_pictures(tmp_path / "données d'été", train=1, classes=names)
    assert read_all(zipped(path) if pack == "zip" else path) == ([0, 1, 2, 3], [0, 1, 2, 3], names)


def test_class_may_be_a_link_to_a_folder(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "train" / "cat").rename(elsewhere)
    (folder / "train" / "cat").symlink_to(elsewhere, target_is_directory=True)
    assert read_all(folder) == TRAIN


@pytest.mark.parametrize("pack", ["folder", "zip"])
def test_images_come_in_the_size_and_channels_asked_for(pack, folder):
    files = list_images(zipped(folder) if pack == "zip" else folder, "test", 16, channels=1)
    images = files.take(torch.tensor([5, 0]))
    assert images.shape == (2, 1, 16, 16)
    assert images.dtype == torch.uint8
    assert numbers(images) == [17, 12]


def test_folder_without_train_and_test_is_told_what_is_there(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "0.png")
    message = refused(tmp_path)
    assert "no images in train/<class>/ and test/<class>/; found there: cats, dogs" in message
    assert "{train,test}/<class>/<image>" in message


def test_images_without_classes_are_no_layout(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / split / "0.png")
    assert "no images in train/<class>/ and test/<class>/; found there: test, train" in refused(tmp_path)


def test_missing_split_is_named(folder):
    (folder / "test").rename(folder / "validation")
    assert "no images in test/<class>/; found there: train, validation" in refused(folder)


def test_empty_folder_and_empty_zip_hold_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "found there: nothing" in refused(tmp_path / "empty")
    assert "found there: nothing" in refused(zipped(tmp_path / "empty"))


def test_one_class_is_not_enough(tmp_path):
    path = write_pictures(tmp_path / "cats", classes=("cat",))
    assert "one class, 'cat'" in refused(path)


def test_classes_that_differ_are_named_on_both_sides(folder):
    (folder / "test" / "cat").rename(folder / "test" / "Cat")
    message = refused(folder)
    assert "cat only in train" in message
    assert "Cat only in test" in message


def test_class_without_test_images_is_named(folder):
    (folder / "test" / "dog").rename(folder / "dog")
    message = refused(folder)
    assert "dog only in train" in message
    assert "only in test" not in message


@pytest.mark.parametrize("damage", ["cut short", "another file", "empty"])
def test_file_that_is_no_whole_zip_is_refused(damage, folder):
    path = zipped(folder)
    content = path.read_bytes()
    path.write_bytes({"cut short": content[: len(content) // 2], "another file": b"x", "empty": b""}[damage])
    assert "is not a whole zip file" in refused(path)
    assert refused(path).endswith("get it again.")


def overwrite(path, offset, *values):
    content = bytearray(path.read_bytes())
    content[offset : offset + len(values)] = values
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["deflate", "checksum"])
def test_damaged_entry_of_a_zip_is_named(damage, folder):
    path = zipped(folder)
    with zipfile.ZipFile(path) as file:
        entry = file.getinfo("train/dog/005.png")
    begins = entry.header_offset + 30 + len(entry.filename)
    if damage == "deflate":
        overwrite(path, begins, 0xFF, 0xFF, 0xFF, 0xFF)
    else:
        overwrite(path, begins + entry.compress_size // 2, 0x55)
    files = list_images(path, "train", 32)
    assert numbers(files.take(torch.tensor([4, 6]))) == [4, 6]
    with pytest.raises(DataError, match=r"train/dog/005.png .*animals.zip"):
        files.read(5)


def test_encrypted_entry_is_named(folder):
    path = zipped(folder)
    with zipfile.ZipFile(path) as file:
        entry = file.getinfo("train/dog/005.png")
        listed = path.read_bytes().rindex(b"PK\x01\x02", 0, path.read_bytes().rindex(b"train/dog/005.png"))
    overwrite(path, entry.header_offset + 6, 1)  # the bit that says so, here and in the list at the end
    overwrite(path, listed + 8, 1)
    with pytest.raises(DataError, match=r"train/dog/005.png .*animals.zip: .*encrypted"):
        list_images(path, "train", 32).read(5)


def test_file_that_cannot_be_read_is_named(folder):
    (folder / "train" / "dog" / "005.png").unlink()
    (folder / "train" / "dog" / "005.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"005.png cannot be read: No such file"):
        list_images(folder, "train", 32).read(5)


def test_batch_with_a_damaged_image_names_it_and_the_remedy(folder):
    (folder / "train" / "dog" / "005.png").write_text("no image")
    with pytest.raises(DataError, match=r"dog.005.png is not an image.* --skip_bad_images\.$"):
        list_images(folder, "train", 32).take(torch.arange(12))


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is forked there")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # on two cores
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_zip_is_read_by_forked_workers_at_once(tmp_path):
    path = zipped(write_pictures(tmp_path / "many", train=60))
    files = list_images(path, "train", 32)
    files.read(0)  # the parent has it open when the workers are forked
    batches = torch.arange(180).reshape(-1, 5)
    loader = DataLoader(
        TensorDataset(batches),
        batch_size=None,
        num_workers=3,
        multiprocessing_context="fork",
        collate_fn=lambda batch: files.take(batch[0]),
    )
    assert [numbers(images) for images in loader] == batches.tolist()


def test_zip_goes_to_another_process_without_its_open_file(folder):
    files = list_images(zipped(folder), "train", 32)
    files.read(0)
    copy = pickle.loads(pickle.dumps(files))
    assert copy.store == files.store
    assert isinstance(copy.store, Zip)
    assert numbers(copy.take(torch.arange(12))) == TRAIN[0]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_of_any_compression(compression, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", compression) as file:
        for number, name in enumerate(("train/a/0.png", "train/b/1.png", "test/a/2.png", "test/b/3.png")):
            content = BytesIO()
            Image.new("L", (32, 32), number).save(content, "PNG")
            file.writestr(name, content.getvalue())
    assert read_all(tmp_path / "data.zip") == ([0, 1], [0, 1], ("a", "b"))


def test_labels_follow_the_classes_into_another_order(folder):
    assert relabel(torch.tensor([0, 1, 2, 1]), ("a", "b", "c"), ("c", "a", "b")).tolist() == [1, 2, 0, 2]
    files = list_images(folder, "test", 32).relabelled(("emu", "cat", "dog"))
    assert files.classes == ("emu", "cat", "dog")
    assert files.labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert numbers(files.take(torch.arange(6))) == TEST[0]


def test_only_some_images_keep_their_labels(folder):
    files = list_images(folder, "test", 32).only(torch.tensor([1, 4]))
    assert len(files) == 2
    assert files.labels.tolist() == [0, 2]
    assert numbers(files.take(torch.tensor([0, 1]))) == [13, 16]
