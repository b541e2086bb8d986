"""The names an op may use, and why not the others.

An allow list: what is not named here is refused. Names are dotted origins (`torch.nn.init.ones_`),
whatever they are called in the file; builtins are below `builtins.`.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from sys import stdlib_module_names

from workbench.judge.scan.tensors import SPLITS, VIEWS, tensor_reason

LIBRARY = "workbench_kernels"


def _below(prefix: str, names: str) -> set[str]:
    return {f"{prefix}.{name}" for name in names.split()}


_EXCEPTIONS = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
_BUILTINS = _below(
    "builtins",
    """abs all any bool bytes callable classmethod complex dict divmod enumerate filter float format
    frozenset getattr hasattr int isinstance issubclass iter len list map max min next object pow
    property range repr reversed round set slice sorted staticmethod str sum super tuple type zip
    NotImplemented Ellipsis __name__ __doc__""",
) | {f"builtins.{name}" for name in _EXCEPTIONS}

_TORCH = _below(
    "torch",
    """Tensor Size device dtype layout memory_format Tag SymInt SymFloat SymBool finfo iinfo
    strided contiguous_format preserve_format channels_last channels_last_3d __version__
    bool uint8 uint16 uint32 uint64 int8 int16 short int32 int int64 long float16 half bfloat16
    float32 float float64 double complex64 complex128 float8_e4m3fn float8_e5m2 float8_e8m0fnu
    empty empty_like empty_strided zeros zeros_like ones ones_like full full_like tensor as_tensor
    scalar_tensor broadcast_shapes broadcast_tensors clone is_tensor is_grad_enabled
    is_autocast_enabled is_inference_mode_enabled get_autocast_dtype get_autocast_gpu_dtype
    get_default_dtype promote_types result_type can_cast no_grad autocast amp.autocast
    sym_int sym_float sym_max sym_min _check _check_value _check_type _check_index
    atleast_1d atleast_2d
    types.Device types.Number autograd.Function autograd.function.Function
    autograd.function.FunctionCtx autograd.function.once_differentiable
    amp.custom_fwd amp.custom_bwd cuda.amp.custom_fwd cuda.amp.custom_bwd
    cuda.device cuda.device_of cuda.current_device cuda.device_count cuda.is_available
    cuda.is_bf16_supported cuda.get_device_properties cuda.get_device_capability
    cuda.get_device_name
    library.Library library.custom_op library.triton_op library.wrap_triton library.infer_schema
    library.define library.impl library.register_fake library.register_kernel library.impl_abstract
    library.register_autograd library.register_autocast library.register_vmap
    nn.Module nn.Parameter nn.Buffer nn.ParameterList nn.ParameterDict nn.ModuleList nn.ModuleDict
    nn.parameter.Parameter
    nn.parameter.Buffer nn.modules.module.Module nn.modules.Module""",
)
_TRITON = _below(
    "triton",
    """jit autotune heuristics Config cdiv next_power_of_2 constexpr_function set_allocator
    JITFunction __version__ tools.tensor_descriptor.TensorDescriptor""",
)
_STANDARD = (
    _below("functools", "cache cached_property lru_cache partial reduce wraps")
    | _below("collections", "namedtuple deque defaultdict OrderedDict Counter ChainMap")
    | _below("dataclasses", "dataclass field fields replace asdict astuple KW_ONLY")
    | _below("enum", "Enum IntEnum StrEnum Flag IntFlag auto unique verify UNIQUE")
    | _below("contextlib", "nullcontext contextmanager AbstractContextManager")
    | _below("abc", "ABC abstractmethod")
    | _below("types", "MappingProxyType NoneType")
    | _below("warnings", "warn")
    | _below("operator", "add sub mul floordiv truediv mod neg index itemgetter and_ or_ xor")
    | _below("operator", "eq ne lt le gt ge not_ contains getitem is_ is_not")
)
_TORCH |= _below("torch", "numel is_floating_point is_complex " + " ".join(VIEWS | SPLITS))
_NAMES = _BUILTINS | _TORCH | _TRITON | _STANDARD
# Modules all of whose public names are served; what is below `_TREES` is, at any depth.
_OPEN = {
    "__future__", "math", "numbers", "itertools", "typing", "typing_extensions", "collections.abc",
    "torch.nn.init", "torch.version",
}  # fmt: skip
_TREES = ("triton.language", "torch.ops.workbench_kernels")
_EXCEPT = {
    "itertools.count", "itertools.cycle",
    # These run the code that a string holds.
    "typing.get_type_hints", "typing.ForwardRef", "typing.evaluate_forward_ref",
    "typing_extensions.get_type_hints", "typing_extensions.ForwardRef",
    "typing_extensions.evaluate_forward_ref", "typing_extensions.get_annotations",
}  # fmt: skip
_PACKAGES = {
    ".".join(parts[:end])
    for name in (*_NAMES, *(f"{module}.x" for module in _OPEN), *(f"{tree}.x" for tree in _TREES))
    for parts in [name.split(".")]
    for end in range(1, len(parts))
}
ROOTS = frozenset(name.split(".")[0] for name in _PACKAGES) - {"builtins"} | {LIBRARY}

# The library's modules an op may use. Its truth, its bound and every spec belong to the judge.
_SERVED = set("op jit launch tuning numerics partials spec testing functional nn".split())
_MULTIPLY = {"products", "linear_head"}  # for those whose spec has products
_JUDGES = {"truth", "bound"}
_JUDGES_FUNCTIONS = {"expect", "run", "call", "compare", "check", "check_case", "check_layout"}
# What library modules import, by the name they give it.
REEXPORTED = {
    "torch": "torch", "triton": "triton", "tl": "triton.language", "Tensor": "torch.Tensor",
    "nn": "torch.nn", "JITFunction": "triton.runtime.jit.JITFunction",
}  # fmt: skip

# Modules that must not be reached through another module's attributes.
DANGEROUS = frozenset(
    """os sys subprocess inspect importlib builtins io ctypes gc threading multiprocessing socket
    shutil pathlib pickle signal atexit linecache traceback tokenize runpy pkgutil weakref asyncio
    concurrent tempfile glob platform resource time warnings sysconfig mmap fcntl knobs ir driver
    runtime numpy np types code torch""".split()
)
# Attributes that lead from a value to the code, the frames or the source around it.
INTROSPECTION = frozenset(
    """f_back f_globals f_locals f_builtins f_code tb_frame tb_next tb_lasti gi_frame gi_code
    gi_yieldfrom cr_frame cr_code ag_frame ag_code co_code co_consts co_filename func_globals mro
    raw_src cache_key attrgetter methodcaller cache_info cache_parameters rewriter
    starting_line_number""".split()
)

# What to write in place of a module that isn't served.
INSTEAD = {
    "os": "is not for ops and their tests; launch.interpreted() says whether kernels run without a "
    "GPU, and the judge sets TRITON_INTERPRET",
    "logging": "keeps loggers for the whole process; leave it out, or raise an error",
    "time": "tells the time, by which a run is watched; leave it out",
    "numpy": "computes outside a Triton kernel; use torch to allocate and math for plain numbers",
    "packaging": "is not installed with the library; compare "
    "tuple(map(int, triton.__version__.split('.')[:2]))",
}

_DO = "compute it in a @triton.jit kernel"
# Why names are refused, "what they are; what to do instead"; the longest prefix of a name counts.
_REASONS = {
    "is not among the builtins an op may use; write it with plain code": "builtins",
    "prints; an op prints nothing, raise an error or use tl.device_print": "builtins.print",
    "is a key by which results can be kept; use the shape, dtype and device": "builtins.id "
    "builtins.hash",
    "reads what is outside the op; leave it out": "builtins.open builtins.input torch.load "
    "torch.from_file torch.save torch.hub",
    "reaches names that the source doesn't show; name what you need": "builtins.vars builtins.dir "
    "builtins.globals builtins.locals",
    "changes what the source doesn't show; assign in __init__": "builtins.setattr builtins.delattr",
    "runs code that the source doesn't show; write the code itself": "builtins.eval builtins.exec "
    "builtins.compile builtins.__import__ typing typing_extensions",
    "ends the process; raise ValueError, TypeError or RuntimeError": "builtins.SystemExit "
    "builtins.KeyboardInterrupt builtins.BaseException builtins.exit builtins.quit",
    "hides errors, as a fallback does; let them be raised": "contextlib.suppress "
    "contextlib.ExitStack",
    "is a counter of calls; use range or enumerate": "itertools.count itertools.cycle",
    f"computes with whatever it is given, or reaches attributes by name; {_DO}": "operator",
    f"computes with PyTorch, outside a Triton kernel; {_DO}": "torch",
    f"is PyTorch's own implementation; {_DO}": "torch.nn",
    f"differentiates PyTorch code; {_DO}": "torch.autograd.grad torch.autograd.functional "
    "torch.enable_grad torch.func torch.vmap",
    "is autograd's machinery; use op.autograd or torch.autograd.Function": "torch.autograd",
    "calls another implementation; call an op of workbench_kernels or a kernel": "torch.ops",
    "compiles PyTorch code; write a @triton.jit kernel": "torch.jit torch.compile",
    "asks for or changes the compiler's mode; do the same work in every mode": "torch.compiler",
    "changes or watches the GPU's state; launch on the current stream, with "
    "torch.cuda.device(x.device)": "torch.cuda",
    "is a global setting of PyTorch, for everyone; leave it alone": "torch.backends",
    "is not among what an op needs to register itself; use op.define": "torch.library",
    "is randomness, and an op must repeat bit for bit; leave it out": "torch.random "
    "torch.Generator",
    "starts processes; leave it out": "torch.multiprocessing torch.distributed",
    "is the GPU's driver, by which an op is watched; ask "
    "torch.cuda.get_device_properties(x.device)": "triton.runtime.driver",
    "makes tensors that gradients can't use; write torch.no_grad()": "torch.inference_mode",
    "is for tests; leave it out of the op": "torch.testing triton.testing",
    "changes what PyTorch's functions do; leave them alone": "torch.overrides",
    "is machinery, by which an op is watched; use triton.jit, tl, torch.library and "
    "workbench_kernels": "torch.utils triton triton.runtime",
}
_WHY = {name: why for why, names in _REASONS.items() for name in names.split()}
_RANDOM = {
    "torch.manual_seed", "torch.seed", "torch.initial_seed", "torch.get_rng_state",
    "torch.set_rng_state", "torch.rand", "torch.randn", "torch.randint", "torch.randperm",
    "torch.rand_like", "torch.randn_like", "torch.randint_like", "torch.normal",
    "torch.bernoulli", "torch.multinomial", "torch.poisson",
}  # fmt: skip
# What may fill a module's parameters when it is made.
INITIALISERS = frozenset(_RANDOM) | _below("torch", "arange linspace eye Generator")


def reason(name: str, *, products: bool = False) -> str:
    """Why an op, one with `products` or not, may not use `name`; empty if it may."""
    root = name.split(".")[0]
    if root == LIBRARY:
        return _library_reason(name, products)
    if root not in ROOTS | {"builtins"} or name in _NAMES | _PACKAGES:
        return ""  # what can't be imported is found at its import
    for leaf in _prefixes(name):
        if leaf in ("torch.Tensor", "torch.nn.Parameter", "torch.nn.parameter.Parameter"):
            found = tensor_reason(name.removeprefix(f"{leaf}.").split(".")[0])
            return found.why if found else ""
        if leaf in _NAMES:
            return _outside(name.removeprefix(f"{leaf}."))
    module, _, attribute = name.rpartition(".")
    for tree in _TREES:
        if name.startswith(f"{tree}."):
            return _outside(name.removeprefix(f"{tree}."))
    private = attribute.startswith("_") and module != "__future__"
    served = name not in _EXCEPT and attribute not in stdlib_module_names and not private
    if module in _OPEN and served:
        return _outside(attribute)
    return _why(name)


def test_reason(name: str) -> str:
    """Why a test may not use `name`; empty if it may."""
    root, *rest = name.split(".")
    if root == "builtins":
        extra = {"print", "id", "hash", "bytearray", "memoryview"}
        return "" if name in _BUILTINS or rest[0] in extra else _why(name)
    if root not in TEST_ROOTS:
        return ""
    if out := _outside(".".join(rest)):
        return out
    if root in _PARTS and rest and name not in _PARTS[root] | _PACKAGES_OF_TESTS:
        return f"is not among what tests may use of {root}; write it with torch and plain code"
    if root == "pytest" and rest and rest[0] not in _PYTEST:
        return "is not for tests; of pytest use mark, param, raises, fixture, approx"
    if root == "unittest" and rest and rest[0] not in _UNITTEST:
        return "is not for tests; of unittest use TestCase, skipIf, skipUnless"
    for prefix in (name, *_prefixes(name)):
        if prefix in _NOT_IN_TESTS:
            return _NOT_IN_TESTS[prefix]
    private = any(part.startswith("_") for part in rest)
    if private and root in _TEST_MODULES:
        return "is private to its module; use its public functions"
    if private and root == "torch" and not name.startswith(_PRIVATE_IN_TESTS):
        return "is PyTorch's machinery; test the op by calling it"
    return ""


_TEST_MODULES = {
    "warnings", "re", "copy", "random", "fractions", "decimal", "statistics", "string", "cmath",
}  # fmt: skip
# Modules of which tests may use some names only.
_PARTS = {
    "numpy": _below(
        "numpy",
        """ndarray array asarray ascontiguousarray arange linspace zeros ones full empty zeros_like
        ones_like full_like eye float16 float32 float64 longdouble int8 int32 int64 bool_ dtype
        nan inf pi e newaxis isnan isinf isfinite isclose allclose array_equal shape ndim
        abs absolute sign sum mean var std prod max min amax amin maximum minimum any all
        cumsum exp exp2 expm1 log log2 log1p logaddexp sqrt square power reciprocal sin cos tan
        sinh cosh tanh arctan clip where dot matmul einsum outer transpose stack concatenate
        split reshape expand_dims broadcast_to repeat tile take take_along_axis sort argsort
        argmax argmin count_nonzero nonzero percentile median quantile nextafter spacing finfo
        iinfo errstate erf heaviside hypot float_power flip roll tril triu unique
        random.default_rng random.seed random.rand random.randn random.randint random.uniform
        random.normal random.standard_normal random.RandomState random.Generator linalg.norm
        testing.assert_allclose testing.assert_array_equal testing.assert_equal
        testing.assert_almost_equal testing.assert_array_almost_equal testing.assert_array_less
        testing.assert_array_max_ulp testing.assert_array_almost_equal_nulp""",
    ),
    "inspect": _below("inspect", "signature Parameter Signature"),
}
_PACKAGES_OF_TESTS = {"numpy.random", "numpy.testing", "numpy.linalg"}
TEST_ROOTS = ROOTS | _TEST_MODULES | {"pytest", "hypothesis", "unittest", *_PARTS}
_UNITTEST = ("TestCase", "main", "skipIf", "skipUnless")
_PRIVATE_IN_TESTS = (
    "torch._dynamo", "torch.__version__", "torch._check", "torch._subclasses.FakeTensorMode",
    "torch._subclasses.fake_tensor.FakeTensorMode",
)  # fmt: skip
_PYTEST = {
    "mark", "param", "raises", "fixture", "approx", "warns", "fail", "skip", "deprecated_call",
    "FixtureRequest", "ExceptionInfo", "RaisesGroup", "RaisesExc", "importorskip", "xfail",
}  # fmt: skip
_FILES = "reads or writes files; draw the values in the test"
_GLOBAL = "changes PyTorch for everyone who runs after; leave it alone"
_NOT_IN_TESTS = {
    "torch.load": _FILES, "torch.save": _FILES, "torch.hub": _FILES, "torch.serialization": _FILES,
    "torch.from_file": _FILES, "torch.package": _FILES, "torch.jit": _FILES,
    "torch.utils.cpp_extension": "builds other code; test the op by calling it",
    "torch.multiprocessing": "starts processes; test the op in this one",
    "torch.distributed": "starts processes; test the op in this one",
    "torch.overrides": _GLOBAL, "torch.use_deterministic_algorithms": _GLOBAL,
    "torch.set_default_dtype": _GLOBAL, "torch.set_default_device": _GLOBAL,
    "torch.set_default_tensor_type": _GLOBAL, "torch.set_num_threads": _GLOBAL,
    "torch.set_flush_denormal": _GLOBAL, "torch.set_float32_matmul_precision": _GLOBAL,
    "torch.library.Library": "registers other implementations; test the op as it is",
    "torch.library.custom_op": "registers other implementations; test the op as it is",
    "torch.library.impl": "registers other implementations; test the op as it is",
    "torch.library.register_kernel": "registers other implementations; test the op as it is",
    "triton.runtime": "is Triton's machinery; test the op by calling it",
    "triton.compile": "is Triton's machinery; test the op by calling it",
    "triton.compiler": "is Triton's machinery; test the op by calling it",
}  # fmt: skip


def _library_reason(name: str, products: bool) -> str:
    """Of the library: its modules for ops, and other ops' kernels and wrappers."""
    module, *rest = name.split(".")[1:] or [""]
    if module in _MULTIPLY and not products:
        return "multiplies with PyTorch, which the op's spec does not say it does; " + _DO
    if module in _JUDGES or rest[:1] == ["spec"]:
        return "holds what the op is judged by; compute the op in its own kernels"
    if module == "testing" and rest and rest[0] in _JUDGES_FUNCTIONS:
        return "holds what the op is judged by; compute the op in its own kernels"
    if module in _SERVED and rest and rest[0].startswith("_"):
        return "is private to the library; use its public functions"
    return _outside(".".join(rest))


def _outside(attributes: str) -> str:
    """Why attributes of something served may not be used."""
    for attribute in attributes.split("."):
        if attribute in DANGEROUS and attribute != "random":
            return f"reaches the module {attribute} through another; an op needs nothing outside it"
        if attribute in INTROSPECTION:
            return "looks at code or callers; leave it out"
    return ""


def _why(name: str) -> str:
    if name in _RANDOM:
        return _WHY["torch.random"]
    private = any(part.startswith("_") for part in name.split(".")[1:])
    if name.startswith("torch.") and private:
        return "is PyTorch's machinery, by which an op is watched; leave it alone"
    if name.startswith(("torch.set_", "torch.use_", "torch.get_num", "torch.are_")):
        return _WHY["torch.backends"]
    for prefix in (name, *_prefixes(name)):
        if prefix in _WHY:
            return _WHY[prefix]
    return "is not among the names an op may use; write it with torch, triton and plain code"


def _prefixes(name: str) -> Iterator[str]:
    """`a.b.c`: `a.b`, then `a`."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
