"""Measures of disentanglement against closed forms; the reader against a stub that paints codes."""

import math

import numpy as np
import pytest
import torch

from roigan_lib.control import disentanglement as dis
from roigan_lib.errors import RoiganError


def uniform(n, k):
    return torch.rand(n, k, dtype=torch.float64) * 2 - 1


# ---- mutual information and MIG


def test_a_copy_tells_the_whole_entropy():
    codes = torch.cat([uniform(4000, 1), torch.randint(0, 4, (4000, 1))], 1)
    mi = dis.mutual_information(codes, torch.stack([codes[:, 0].exp(), -codes[:, 1]], 1))
    entropy = dis.entropies(codes)
    assert entropy.tolist() == pytest.approx([math.log(20), math.log(4)], abs=2e-3)
    assert torch.allclose(mi.diagonal(), entropy) and mi[0, 1].abs() < 0.01
    assert dis.mutual_information(codes, codes[:, :1], bins=10)[0, 0] == pytest.approx(math.log(10))


def test_independent_codes_tell_nothing_once_chance_is_taken_off():
    codes, factors = uniform(4000, 5), torch.randn(4000, 6)
    plain = dis.mutual_information(codes, factors, corrected=False)
    assert plain.mean() == pytest.approx(19**2 / 8000, abs=0.003)
    assert dis.mutual_information(codes, factors).mean() == pytest.approx(0, abs=0.003)
    categories = torch.randint(0, 4, (4000, 5))
    assert dis.mutual_information(categories, factors, corrected=False).mean() == pytest.approx(
        57 / 8000, abs=0.002
    )
    assert dis.mutual_information(categories, factors).mean() == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("rho", [0.3, 0.8, -0.9])
def test_a_gaussian_pair_is_the_closed_form(rho):
    x, noise = torch.randn(20_000, 1), torch.randn(20_000, 1)
    y = rho * x + math.sqrt(1 - rho**2) * noise
    expected = -0.5 * math.log(1 - rho**2)
    value = dis.mutual_information(x, y).item()
    assert value == pytest.approx(expected, rel=0.06, abs=0.01)
    assert dis.mutual_information(y.numpy(), 3 * x.numpy() ** 3).item() == pytest.approx(
        value, rel=1e-6
    )


def test_categories_of_unequal_size_and_many_equal_values():
    column = torch.tensor([0.0] * 3900 + [1.0] * 100)[:, None]
    share = 0.025
    expected = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert dis.entropies(column).item() == pytest.approx(expected)
    assert dis.mutual_information(column, column).item() == pytest.approx(expected)
    half_zero = torch.cat([torch.zeros(2000, 1), torch.rand(2000, 1)])
    assert dis.entropies(half_zero).item() == pytest.approx(
        0.5 * math.log(2) + 0.5 * math.log(20), rel=0.02
    )


def test_mutual_information_and_mig_are_the_literal_sums():
    n, bins = 2000, 20
    codes = torch.rand(n, 3, dtype=torch.float64) * 2 - 1
    factors = codes @ torch.randn(3, 4).double() + 0.3 * torch.randn(n, 4).double()
    cells = [
        [[int(rank) * bins // n for rank in column.argsort().argsort()] for column in table.T]
        for table in (codes, factors)
    ]  # bins of equal frequency, by rank

    def share(keys):
        return {key: keys.count(key) / n for key in set(keys)}

    def information(x, y):
        both, of_x, of_y = share(list(zip(x, y))), share(x), share(y)
        plain = sum(p * math.log(p / (of_x[a] * of_y[b])) for (a, b), p in both.items())
        return plain, plain + (len(of_x) + len(of_y) - len(both) - 1) / (2 * n)

    found = [[information(x, y) for y in cells[1]] for x in cells[0]]
    plain, corrected = torch.tensor(found, dtype=torch.float64).unbind(-1)
    assert torch.allclose(dis.mutual_information(codes, factors, corrected=False), plain, atol=1e-9)
    ours = dis.mutual_information(codes, factors)
    assert torch.allclose(ours, corrected, atol=1e-9)
    best, second = corrected.sort(0, descending=True).values[:2]  # Chen et al. (2018), eq. (6)
    gaps = (best - second.clamp_min(0)) / math.log(bins)
    assert torch.allclose(dis.mig(ours, dis.entropies(factors)), gaps, atol=1e-9)


def test_mig_is_one_for_one_to_one_and_zero_for_duplicates():
    c = uniform(4000, 2)
    factors = torch.stack([c[:, 1] ** 3, -c[:, 0]], 1)
    entropy = dis.entropies(factors)
    assert dis.mig(dis.mutual_information(c, factors), entropy).tolist() == pytest.approx(
        [1, 1], abs=0.02
    )
    twice = torch.cat([c, c], 1)
    assert dis.mig(dis.mutual_information(twice, factors), entropy).tolist() == pytest.approx(
        [0, 0], abs=1e-9
    )


def test_mig_is_the_gap_over_the_entropy_and_turns_to_the_codes_by_transposing():
    mi = torch.tensor([[1.0, 0.2], [0.4, 0.2], [0.1, -0.01]])
    assert dis.mig(mi, torch.tensor([2.0, 1.0])).tolist() == pytest.approx([0.3, 0])
    assert dis.mig(mi.T, torch.tensor([2.0, 1.0, 1.0])).tolist() == pytest.approx([0.4, 0.2, 0.1])
    assert dis.mig(mi, torch.tensor([2.0, 0.0]))[1] == 0  # a constant factor


def test_a_category_has_a_ceiling():
    d = torch.randint(0, 4, (8000, 1)).double()
    codes, factor = torch.cat([d, uniform(8000, 1)], 1), d + 0.01 * torch.randn(8000, 1)
    gap = dis.mig(dis.mutual_information(codes, factor), dis.entropies(factor))
    assert gap.item() == pytest.approx(math.log(4) / math.log(20), abs=0.01)


@pytest.mark.parametrize("bins, expected", [(10, 0.32), (20, 0.26)])
def test_mig_of_four_fifths_of_the_variance(bins, expected):
    c = uniform(20_000, 2)
    y = math.sqrt(0.8 * 3) * c[:, :1] + math.sqrt(0.2) * torch.randn(20_000, 1)
    gap = dis.mig(dis.mutual_information(c, y, bins), dis.entropies(y, bins))
    assert gap.item() == pytest.approx(expected, abs=0.015)


# ---- explained variance, SAP, DCI


def test_explained_variance_and_sap_are_the_closed_form():
    c = uniform(20_000, 3)
    d = torch.randint(0, 3, (20_000, 1)).double()
    level = torch.tensor([0.0, 3, 0], dtype=torch.float64)[
        d[:, 0].long()
    ]  # variance 2; no linear trend in d
    factors = torch.stack(
        [3 * c[:, 0] + c[:, 1] + torch.randn(20_000), level + torch.randn(20_000)], 1
    )
    r2 = dis.explained_variance(torch.cat([c, d], 1), factors)
    variance = 9 / 3 + 1 / 3 + 1
    assert r2[:, 0].tolist() == pytest.approx([3 / variance, 1 / 3 / variance, 0, 0], abs=0.012)
    assert r2[:, 1].tolist() == pytest.approx([0, 0, 0, 2 / 3], abs=0.012)
    assert dis.sap(r2).tolist() == pytest.approx([8 / 3 / variance, 2 / 3], abs=0.02)


def test_sap_is_the_gap_of_squared_correlations():
    codes = torch.rand(400, 3, dtype=torch.float64) * 2 - 1
    factors = codes @ torch.randn(3, 2).double() + torch.randn(400, 2).double()
    x, y = codes.numpy(), factors.numpy()
    r2 = np.array([[np.corrcoef(a, b)[0, 1] ** 2 for b in y.T] for a in x.T])
    r2 = 1 - (1 - r2) * 399 / 398  # adjusted, one regressor and a constant
    assert dis.explained_variance(codes, factors).numpy() == pytest.approx(r2.clip(0), abs=1e-9)
    best = np.sort(r2.clip(0), 0)[::-1]  # Kumar et al. (2018), section 3
    gaps = dis.sap(dis.explained_variance(codes, factors))
    assert gaps.tolist() == pytest.approx(best[0] - best[1])


def test_dci_is_that_of_disentanglement_lib():
    entropy = pytest.importorskip("scipy.stats").entropy
    matrix = np.random.default_rng(3).random((5, 7)) ** 4
    matrix[2] = 0  # a dead code
    per_code = 1 - entropy(matrix.T + 1e-11, base=7)  # its dci.py, line by line
    per_factor = 1 - entropy(matrix + 1e-11, base=5)
    found = dis.dci(matrix)
    assert found.codes.tolist() == pytest.approx(per_code, abs=1e-6)
    assert found.factors.tolist() == pytest.approx(per_factor, abs=1e-6)
    share = matrix.sum(1) / matrix.sum(), matrix.sum(0) / matrix.sum()
    assert found.disentanglement == pytest.approx((per_code * share[0]).sum(), abs=1e-6)
    assert found.completeness == pytest.approx((per_factor * share[1]).sum(), abs=1e-6)


def test_a_dead_code_pulls_down_the_unweighted_mean_alone():
    found = dis.dci([[4, 0], [0, 1], [0, 0]])
    assert (found.disentanglement, found.completeness) == pytest.approx((1, 1))
    assert found.codes.mean() == pytest.approx(2 / 3)
    assert found.factors.mean() == pytest.approx(1)
    bundle = dis.dci([[1, 1, 0], [0, 0, 6]])  # an important code, a lesser bundle
    mixed = 1 - math.log(2) / math.log(3)
    assert bundle.disentanglement == pytest.approx((mixed * 2 + 6) / 8)
    assert bundle.codes.mean() == pytest.approx((mixed + 1) / 2)
    *_, d, c = bundle
    assert (d, c) == (bundle.disentanglement, bundle.completeness)


def test_explained_variance_takes_chance_off():
    r2 = dis.explained_variance(torch.randint(0, 10, (100, 30)), torch.randn(100, 30))
    assert (r2 >= 0).all() and r2.mean() < 0.05  # 0.09 as it stands
    assert dis.explained_variance(torch.ones(100, 1), torch.randn(100, 1)).item() == 0
    assert dis.explained_variance(uniform(100, 1), torch.ones(100, 1)).item() == 0
    copy = uniform(100, 1)
    assert dis.explained_variance(copy, 2 - copy).item() == pytest.approx(1)


def test_dci_of_permutation_uniform_and_bundle():
    one_to_one = torch.eye(4)[torch.randperm(4)] * torch.tensor([0.2, 1, 0.5, 3])
    codes, factors, d, c = dis.dci(one_to_one)
    assert codes.tolist() == pytest.approx([1] * 4) and factors.tolist() == pytest.approx([1] * 4)
    assert (d, c) == pytest.approx((1, 1))
    assert dis.dci(torch.ones(3, 5))[2:] == pytest.approx((0, 0), abs=1e-6)
    _, _, d, c = dis.dci([[1, 1], [0, 0]])  # one code for all; the other dead
    assert (d, c) == pytest.approx((0, 1), abs=1e-6)
    codes, _, d, _ = dis.dci([[0.9, 0.1], [0, 3]])
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert codes.tolist() == pytest.approx([1 - entropy, 1]) and d == pytest.approx(
        (1 - entropy + 3) / 4
    )


# ---- reading codes back


class Painter:
    """Inside the hole: red = 0.8 c1, a bar as high as d1, blue = noise; outside the face; no c2."""

    n_continuous, n_discrete, n_categories = 2, 1, 3

    def sample_codes(self, n, seed=0):
        g = torch.Generator().manual_seed(seed)
        return torch.cat(
            [torch.rand(n, 2, generator=g) * 2 - 1, torch.randint(0, 3, (n, 1), generator=g)], 1
        )

    def inpaint(self, images, masks, codes=None, seed=0):
        noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
        red = (0.8 * codes[:, 0])[:, None, None].expand_as(noise[:, 0])
        new = torch.stack([red, noise[:, 1] - 0.5, noise[:, 2]], 1)
        for i, d in enumerate(codes[:, 2].long().tolist()):
            new[i, 1, 5 + 2 * d : 7 + 2 * d] += 1
        return torch.where(masks > 0.5, new, images)


@pytest.fixture
def faces():
    mask = torch.zeros(1, 1, 16, 16)
    mask[:, :, 4:12, 4:12] = 1
    return torch.rand(40, 3, 16, 16) * 2 - 1, mask


def test_completions_serve_every_image_with_codes_of_its_own(faces):
    images, mask = faces
    drawn = dis.completions(Painter(), images, mask, 90, seed=3)
    assert drawn.pictures.shape == (90, 3, 16, 16) and drawn.masks.shape == (90, 1, 16, 16)
    assert drawn.index.bincount().tolist() == [3] * 10 + [2] * 30
    assert torch.equal(drawn.pictures * (1 - mask), images[drawn.index] * (1 - mask))
    assert torch.allclose(drawn.pictures[:, 0, 5, 5], 0.8 * drawn.codes[:, 0])
    assert len(drawn.pictures[:, 2, 5, 5].unique()) == 90  # noise is drawn anew, too
    assert torch.equal(
        dis.completions(Painter(), images, mask, 90, seed=3).pictures, drawn.pictures
    )
    assert len(dis.completions(Painter(), images, mask, 5).pictures) == 5
    masks = mask.repeat(40, 1, 1, 1)
    masks[1] = 0
    few = dis.completions(Painter(), images, masks, 60)
    assert (
        torch.equal(few.pictures[few.index == 1], images[[1, 1]])
        and not few.masks[few.index == 1].any()
    )


@pytest.mark.slow
def test_painted_codes_are_read_back_and_a_dead_one_is_not(faces):
    gan, lines = Painter(), []
    drawn = dis.completions(gan, *faces, 960)
    state = torch.get_rng_state()
    scores, n_train, n_test = dis.read_back(gan, drawn, steps=120, batch=16, log=lines.append)
    assert (
        list(scores) == ["c1", "c2", "d1"] and (n_train, n_test) == (720, 240) and len(lines) == 1
    )
    assert scores["c1"] > 0.9 and scores["d1"] > 0.95 and -0.3 < scores["c2"] < 0.1
    assert torch.equal(torch.get_rng_state(), state)


def test_the_reader_sees_the_surroundings_of_the_holes_only():
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, 0, 30:40, 2:20] = 1
    masks[1, 0, 34:44, 10:28] = 1
    assert dis._window(masks) == [slice(26, 50), slice(0, 32)]
    assert dis._window(torch.ones(1, 1, 64, 64)) == [slice(0, 64), slice(0, 64)]
    masks[0, 0, 60:, 60:] = 1
    assert dis._window(masks)[0] == slice(24, 64)


# ---- errors


def test_unusable_tables_are_refused_in_one_sentence():
    x, bad = torch.rand(500, 2), torch.full((500, 2), math.nan)
    for function in (dis.mutual_information, dis.explained_variance):
        with pytest.raises(RoiganError, match="NaN"):
            function(x, bad)
        with pytest.raises(RoiganError, match="500 rows of codes and 499"):
            function(x, x[1:])
        with pytest.raises(RoiganError, match="table"):
            function(x[:, 0], x)
        with pytest.raises(RoiganError, match="too few|more pictures"):
            function(x[:2], x[:2])
    with pytest.raises(RoiganError, match="399 pictures are too few"):
        dis.mutual_information(x[:399], x[:399])
    with pytest.raises(RoiganError, match="two codes"):
        dis.sap(torch.rand(1, 3))
    with pytest.raises(RoiganError, match="one entropy a factor"):
        dis.mig(torch.rand(3, 3), torch.rand(2))
    for importance in (torch.rand(3), -torch.rand(3, 3), torch.zeros(3, 3), bad):
        with pytest.raises(RoiganError, match="importances"):
            dis.dci(importance)


def test_unusable_completions_are_refused(faces):
    images, mask = faces
    for arguments in (
        (images[:0], mask, 4),
        (images, mask.expand(3, -1, -1, -1), 4),
        (images, mask, 0),
    ):
        with pytest.raises(RoiganError, match="one mask, or one an image"):
            dis.completions(Painter(), *arguments)
    drawn = dis.completions(Painter(), images, mask, 200)
    for bad in (
        drawn._replace(index=torch.zeros(200)),
        drawn._replace(masks=torch.zeros(200, 1, 16, 16)),
        dis.completions(Painter(), images, mask, 100),
    ):
        with pytest.raises(RoiganError, match="128 completions or more"):
            dis.read_back(Painter(), bad)
