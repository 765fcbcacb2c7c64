/* correct(raw, dark, flat_dark, first, second, weight, scale, nan, out): the flat-field correction
 * of pixels, to the bit what `correct_in_numpy` of formula.py gives:
 *     flat = first * (1 - weight) + second * weight      in float64, rounded once to float32
 *     out  = (raw - dark) / (flat - flat_dark) * scale   in float32
 * `raw` holds integers (8 to 64 bits), float32 or float64 in native byte order, the others float32.
 * All are contiguous, have one axis of one length, and may be unaligned.  If `second` is None, the
 * flat is `first`.  If `nan` is not None, it replaces all that is not finite.  `out` may be `raw`.
 * Other buffers are a ValueError or BufferError.  The GIL is released.
 * The compiler vectorises the loops.  It must not join a product and a sum into one operation,
 * which would round once instead of twice: compile with -ffp-contract=off. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <stdint.h>
#include <string.h>
#if FLT_EVAL_METHOD != 0
#error "this compiler computes with more digits than float32 has: the results would not be NumPy's"
#endif
typedef float value_t __attribute__((aligned(1), may_alias)); /* a float32 at any address */
enum { RAW, DARK, FLAT_DARK, FIRST, SECOND, OUT, BUFFERS, FLOAT32 = 'f' << 8 | 4, TILE = 2048 };

#define CASE(kind, type)                                                                          \
    case kind << 8 | sizeof(type): {                                                              \
        typedef type number_t __attribute__((aligned(1), may_alias));                             \
        const number_t *numbers = (const number_t *)at[RAW] + start;                              \
        for (int i = 0; i < n; i++) value[i] = (float)numbers[i];                                 \
        break;                                                                                    \
    }

/* TILE pixels at a time, so that their values stay in the first cache. */
#if defined(__x86_64__) && defined(__GLIBC__) /* which of the two is chosen when it is loaded */
__attribute__((target_clones("default", "avx2")))
#endif
static void correct_tiles(char *const *at, Py_ssize_t count, int dtype, int alone, double weight,
                          float scale, int replace, float nan) {
    float value[TILE], divisor[TILE];
    for (Py_ssize_t start = 0; start < count; start += TILE) {
        const int n = (int)(count - start < TILE ? count - start : TILE);
        const value_t *input[OUT];
        for (int k = DARK; k < OUT; k++) input[k] = (const value_t *)at[k] + start;
        switch (dtype) {
            CASE('u', uint8_t) CASE('u', uint16_t) CASE('u', uint32_t) CASE('u', uint64_t)
            CASE('i', int8_t) CASE('i', int16_t) CASE('i', int32_t) CASE('i', int64_t)
            CASE('f', float) CASE('f', double)
        }
        for (int i = 0; alone && i < n; i++) divisor[i] = input[FIRST][i];
        for (int i = 0; !alone && i < n; i++)
            divisor[i] = (float)(input[FIRST][i] * (1.0 - weight) + input[SECOND][i] * weight);
        for (int i = 0; i < n; i++)
            value[i] = (value[i] - input[DARK][i]) / (divisor[i] - input[FLAT_DARK][i]) * scale;
        for (int i = 0; replace && i < n; i++) value[i] = value[i] - value[i] ? nan : value[i];
        memcpy(at[OUT] + start * sizeof(float), value, n * sizeof(float));
    }
}

/* Kind ('u', 'i', 'f') and size of the numbers, in one int; 0 for all but the dtypes above. */
static int dtype_of(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    const Py_ssize_t size = view->itemsize;
    format += strspn(format, "@=^");
    if (view->ndim != 1 || view->len != view->shape[0] * size || strlen(format) != 1) return 0;
    const char kind = strchr("BHILQ", *format) ? 'u' : strchr("bhilq", *format) ? 'i' : 'f';
    if (kind == 'f' && (size < 4 || *format != (size == 4 ? 'f' : 'd'))) return 0;
    return size == 1 || size == 2 || size == 4 || size == 8 ? kind << 8 | (int)size : 0;
}

static PyObject *correct(PyObject *module, PyObject *arguments) {
    PyObject *from[BUFFERS], *replacement;
    Py_buffer views[BUFFERS];
    char *at[BUFFERS];
    double weight, scale, nan = 0;
    int taken = 0, right = 1;
    if (!PyArg_ParseTuple(arguments, "OOOOOddOO:correct", from, from + 1, from + 2, from + 3,
                          from + 4, &weight, &scale, &replacement, from + 5) ||
        (replacement != Py_None && (nan = PyFloat_AsDouble(replacement)) == -1 && PyErr_Occurred()))
        return NULL;
    const int alone = from[SECOND] == Py_None;
    if (alone) from[SECOND] = from[FIRST];
    for (; right && taken < BUFFERS; taken++) {
        const int flags = taken == OUT ? PyBUF_FORMAT | PyBUF_WRITABLE : PyBUF_FORMAT;
        if (PyObject_GetBuffer(from[taken], &views[taken], PyBUF_C_CONTIGUOUS | flags)) break;
        at[taken] = views[taken].buf;
        right = dtype_of(&views[taken]) && views[taken].shape[0] == views[RAW].shape[0] &&
                (taken == RAW || dtype_of(&views[taken]) == FLOAT32);
    }
    if (!right) PyErr_SetString(PyExc_ValueError, "a wrong dtype or length, or not one axis");
    else if (taken == BUFFERS) {
        Py_BEGIN_ALLOW_THREADS
        correct_tiles(at, views[RAW].shape[0], dtype_of(views), alone, weight, (float)scale,
                      replacement != Py_None, (float)nan);
        Py_END_ALLOW_THREADS
    }
    while (taken) PyBuffer_Release(&views[--taken]);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {{"correct", correct, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef kernel = {PyModuleDef_HEAD_INIT, .m_name = "_kernel", .m_methods = methods};
PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&kernel); }
