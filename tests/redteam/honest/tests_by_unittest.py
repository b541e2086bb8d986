"""Its tests are a unittest.TestCase with setUp, subTest and skipUnless, and formulas by PyTorch."""

BASE = "swiglu"
FILES = {
    "test": """\
import unittest

import torch

from workbench_kernels.swiglu.wrapper import Swiglu, swiglu

CUDA = torch.cuda.is_available()


class TestSwiglu(unittest.TestCase):
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    shapes = ((1,), (17,), (3, 63), (2, 3, 129), (1, 2049), (0, 4))

    def setUp(self):
        torch.manual_seed(1)
        self.device = torch.device("cuda" if CUDA else "cpu")

    def draw(self, *shape, dtype=torch.float32, count=3):
        return [torch.randn(*shape, device=self.device).to(dtype) for _ in range(count)]

    def grads(self, function, gate, up, dy):
        gate, up = (t.detach().clone().requires_grad_() for t in (gate, up))
        out = function(gate, up)
        out.backward(dy)
        return out.detach(), gate.grad, up.grad

    def assertNear(self, got, want, dtype):
        eps = torch.finfo(dtype).eps
        self.assertEqual(got.dtype, dtype)
        self.assertEqual(got.shape, want.shape)
        torch.testing.assert_close(
            got.double(), want.double(), rtol=0.51 * eps + 1e-6, atol=2e-6
        )

    @staticmethod
    def reference(gate, up):
        return gate * torch.sigmoid(gate) * up

    def test_values_and_gradients(self):
        for dtype in self.dtypes:
            for shape in self.shapes:
                with self.subTest(dtype=dtype, shape=shape):
                    inputs = self.draw(*shape, dtype=dtype)
                    wide = [t.double() for t in inputs]
                    expected = self.grads(self.reference, *wide)
                    for got, want in zip(self.grads(swiglu, *inputs), expected):
                        self.assertNear(got, want, dtype)

    def test_transposed_and_expanded(self):
        gate, up, dy = (t.t() for t in self.draw(8, 5))
        for g, u, d in ((gate, up, dy), (gate[:1].expand(5, 8), up, dy), (gate, up, dy[:, :1])):
            d = d.expand(5, 8)
            expected = self.grads(self.reference, g.double(), u.double(), d.double())
            for got, want in zip(self.grads(swiglu, g, u, d), expected):
                self.assertNear(got, want, torch.float32)

    def test_single_gradient(self):
        gate, up, dy = self.draw(6, 7)
        _, dgate, dup = self.grads(swiglu, gate, up, dy)
        for wanted, grad in ((0, dgate), (1, dup)):
            leaves = [gate.clone(), up.clone()]
            leaves[wanted].requires_grad_()
            swiglu(*leaves).backward(dy)
            self.assertTrue(torch.equal(leaves[wanted].grad, grad))
            self.assertIsNone(leaves[1 - wanted].grad)

    def test_module(self):
        gate, up = self.draw(4, 4, count=2)
        self.assertTrue(torch.equal(Swiglu()(gate, up), swiglu(gate, up)))

    def test_refusals(self):
        gate, up = self.draw(4, 4, count=2)
        with self.assertRaisesRegex(TypeError, "float64"):
            swiglu(gate.double(), up.double())
        with self.assertRaisesRegex(TypeError, "float16"):
            swiglu(gate, up.half())
        with self.assertRaises(ValueError):
            swiglu(gate, up[:3])

    def test_opcheck(self):
        gate, up = (t.requires_grad_() for t in self.draw(4, 4, count=2))
        torch.library.opcheck(torch.ops.workbench_kernels.swiglu.default, (gate, up))

    def test_compiled(self):
        gate, up = self.draw(4, 4, count=2)
        compiled = torch.compile(swiglu, fullgraph=True, backend="aot_eager")
        self.assertTrue(torch.equal(compiled(gate, up), swiglu(gate, up)))

    @unittest.skipUnless(CUDA, "needs a GPU")
    def test_refuses_the_cpu(self):
        with self.assertRaisesRegex(ValueError, "CPU"):
            swiglu(torch.ones(2), torch.ones(2))


if __name__ == "__main__":
    unittest.main()
"""
}
