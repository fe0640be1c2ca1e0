import numpy as np
import torch

from featflow.nodes.face.tiny.network import N_OUTPUTS, STRIDES, FaceNet, cell_grid, decode


def test_cells_are_the_centres_of_the_grids_row_by_row():
    expected = [
        ((column + 0.5) * stride, (row + 0.5) * stride, stride)
        for stride in (8, 16, 32, 64)
        for row in range(128 // stride)
        for column in range(192 // stride)
    ]
    assert cell_grid(128, 192).tolist() == [list(map(float, cell)) for cell in expected]


def test_decode_is_the_closed_formula():
    rng = np.random.default_rng(0)
    cells = cell_grid(64, 128)
    outputs = rng.normal(0, 1, (2, len(cells), N_OUTPUTS)).astype(np.float32)
    outputs[0, 0, 3:5] = [7.0, -9.0]  # widths are bounded, heights near 0 are not
    boxes, points = decode(torch.from_numpy(outputs), cells)
    for n, c in np.ndindex(outputs.shape[:2]):
        x, y, stride = cells[c].tolist()
        _, dx, dy, log_w, log_h, *rest = outputs[n, c].tolist()
        middle = np.array([x + dx * stride, y + dy * stride])
        half = stride / 2 * np.exp(np.minimum([log_w, log_h], 5.0))
        assert np.allclose(boxes[n, c], [*(middle - half), *(middle + half)], rtol=1e-5, atol=1e-3)
        offsets = np.array(rest).reshape(5, 2) * stride
        assert np.allclose(points[n, c], np.array([x, y]) + offsets, rtol=1e-5, atol=1e-3)


def test_decode_of_some_cells_is_some_of_decode():
    cells = cell_grid(64, 64)
    outputs = torch.randn(3, len(cells), N_OUTPUTS, generator=torch.manual_seed(0))
    boxes, points = decode(outputs, cells)
    picture, cell = torch.tensor([2, 0, 1]), torch.tensor([5, 80, 0])
    some, some_points = decode(outputs[picture, cell], cells[cell])
    assert torch.equal(some, boxes[picture, cell])
    assert torch.equal(some_points, points[picture, cell])


def test_outputs_come_in_the_order_of_the_cells():
    torch.manual_seed(0)
    net = FaceNet((4, 4, 8, 8, 8), 8).eval()
    maps = []
    for head in net.heads:
        head.register_forward_hook(lambda m, i, out: maps.append(out))
    with torch.no_grad():
        outputs = net(torch.randn(2, 3, 128, 192))
    cells = cell_grid(128, 192)
    assert outputs.shape == (2, len(cells), N_OUTPUTS)
    by_stride = dict(zip(STRIDES, maps, strict=True))
    for index, (x, y, stride) in enumerate(cells.tolist()):
        at_cell = by_stride[int(stride)][:, :, int(y // stride), int(x // stride)]
        assert torch.equal(outputs[:, index], at_cell)


def test_every_output_sees_the_pixels_of_its_own_cell():
    """A change in one corner of the picture moves the cells there most, on every stride."""
    torch.manual_seed(1)
    net = FaceNet((8, 8, 8, 8, 8), 8).eval()
    picture = torch.zeros(1, 3, 512, 512)
    marked = picture.clone()
    marked[..., 40:56, 400:416] = 4.0  # right of the middle, at the top
    with torch.no_grad():
        change = (net(marked) - net(picture))[0].abs().sum(-1)
    cells = cell_grid(512, 512)
    for stride in (8, 16, 32):
        mine = cells[:, 2] == stride
        x, y, _ = cells[mine][change[mine].argmax()].tolist()
        assert abs(x - 408) <= 32 + stride
        assert abs(y - 48) <= 32 + stride


def test_a_fresh_network_believes_in_few_faces():
    torch.manual_seed(0)
    net = FaceNet().eval()
    with torch.no_grad():
        score = net(torch.zeros(1, 3, 64, 64))[..., 0].sigmoid()
    assert 0.002 < float(score.median()) < 0.05
