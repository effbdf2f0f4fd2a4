"""Only sound vectors, and no text's vector under another text's name, may reach Parquet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embed import gate
from pipeline.embed.gate import Gate
from pipeline.types import Vectors


def unit_vectors(count: int, seed: int = 0) -> Vectors:
    """Different vectors of length 1, shape (count, 8)."""
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "NaN"), (np.inf, "NaN or infinity"), (0.0, "length 0"), (8**-0.5, "constant")]
)
def test_a_vector_that_is_none_is_told_from_the_others(value: float, said: str) -> None:
    """NaN, infinity, a wrong length and a constant are each named; the rows beside them pass."""
    vectors = unit_vectors(3)
    vectors[1] = value
    found = gate.faults(vectors, 8)
    assert list(found) == [1]
    assert said in found[1]


@pytest.mark.parametrize("dimensions", [32, 384, 4_096])
@pytest.mark.parametrize("precision", [2**-23, 2**-10, 2**-8])
def test_nearly_constant_is_constant(dimensions: int, precision: float) -> None:
    """Numbers that differ by no more than rounding does, in float32, float16 or bfloat16, tell texts apart no more."""
    chance = np.random.default_rng(dimensions)
    noise = 1 + precision * chance.integers(-1, 2, (4, dimensions))
    vectors = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)
    assert all(np.ptp(vectors, axis=1) > 0)
    assert set(gate.faults(vectors, dimensions).values()) == {"the engine gave a constant vector"}
    assert len(gate.faults(-vectors, dimensions)) == 4


@given(st.integers(0, 10**6), st.sampled_from([8, 32, 1_024]), st.booleans())
def test_no_sound_vector_is_constant(seed: int, dimensions: int, sparse: bool) -> None:
    """Vectors about zero pass, also where few numbers are other than 0, and where all lean to one side."""
    vectors = np.random.default_rng(seed).standard_normal((3, dimensions))
    vectors[1] += 3
    if sparse:
        vectors[:, 2:] = 0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert gate.faults(vectors.astype(np.float32), dimensions) == {}


def test_neighbours_are_no_duplicates() -> None:
    """Texts that differ may have vectors as near as they like: only the very same one is another text's."""
    vectors = unit_vectors(1).repeat(2, axis=0)
    vectors[1, 0] = np.nextafter(vectors[1, 0], np.float32(1))
    assert Gate(8).faults(["a", "b"], vectors) == {}


def test_every_row_of_a_wrong_shape_is_refused() -> None:
    """Vectors of another length than the model's are none of its."""
    assert list(gate.faults(unit_vectors(2), 16)) == [0, 1]


def test_two_texts_with_one_vector_are_both_refused() -> None:
    """An engine that gives a text its neighbour's vector is found out, whichever of the two is right."""
    vectors = unit_vectors(4)
    vectors[3] = vectors[1]
    found = Gate(8).faults(["a", "b", "c", "d"], vectors)
    assert sorted(found) == [1, 3]
    assert "another text" in found[3]


def test_a_vector_is_known_again_in_a_later_batch() -> None:
    """The vector of another text is refused whenever it comes; the same text may come again."""
    admitted, vectors = Gate(8), unit_vectors(2)
    assert admitted.faults(["a", "b"], vectors) == {}
    assert admitted.faults(["a"], vectors[:1]) == {}
    assert list(admitted.faults(["c"], vectors[1:])) == [0]


def test_a_gate_remembers_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the corpus: what was long ago is forgotten."""
    monkeypatch.setattr(gate, "_REMEMBERED", 10)
    admitted, vectors = Gate(8), unit_vectors(30)
    for row in range(30):
        assert admitted.faults([str(row)], vectors[row : row + 1]) == {}
    assert admitted.faults(["x"], vectors[:1]) == {}
    assert list(admitted.faults(["y"], vectors[29:])) == [0]
