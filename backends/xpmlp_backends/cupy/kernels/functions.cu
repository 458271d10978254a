// Numbers and functions that the kernels share. The files of this folder are one source, in the
// order of SOURCES in __init__.py, which CuPy compiles.
//
// Each kernel is what the Python function of the same name in xpmlp computes; the formulas are
// derived there and not explained again. T is float or double. Matrices are row by row without
// gaps. Nothing here depends on the order in which blocks run, so the same input gives the same
// bits. NaN comes out where it went in: fmax and fmin would lose it, so comparisons are written
// out. No kernel takes a number from the host that changes from step to step, because a captured
// CUDA graph would keep the first: rates come by pointer.

enum Activation {
    IDENTITY, SIGN, BINARY_STEP, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, GELU_TANH,
    SOFTPLUS, SWISH, MISH, EXP, ERF
};
enum Loss {
    MSE, MAE, HUBER, QUANTILE, POISSON, POISSON_DEVIANCE, BINARY, CATEGORICAL, LABELS
};
enum Metric { NO_METRIC, IS_LABEL, AGREES, SIDES, SQUARED_ERROR, SQUARED_ERROR_OF_RATE };

const int WARP = 32;
const unsigned ALL = 0xffffffffu;

// This thread's number among all, and how many there are: the usual loop over elements is
// for (long long i = first(); i < n; i += all()).
__device__ inline long long first() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long all() { return (long long)gridDim.x * blockDim.x; }

// Rounded to bfloat16, to the nearest, of two equally near ones to the even; NaN stays NaN.
__device__ inline unsigned short bfloat16(float x) {
    unsigned bits = __float_as_uint(x);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return nan ? 0x7fc0 : (unsigned short)(bits >> 16);
}

template <typename T> __device__ T hold(T z, T bound) {
    return z > bound ? bound : z < -bound ? -bound : z;
}
template <typename T> __device__ T magnitude(T z) { return z < 0 ? -z : z; }
template <typename T> __device__ T positive(T z) { return z > 0 || z != z ? z : T(0); }
template <typename T> __device__ T sign(T z) { return z != z ? z : T((z > 0) - (z < 0)); }

template <typename T> __device__ T sigmoid(T z) {
    T e = exp(-magnitude(z));
    return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}
template <typename T> __device__ T softplus(T z) {
    return positive(z) + log1p(exp(-magnitude(z)));
}
template <typename T> __device__ T normal_cdf(T z) {
    return T(0.5) * (1 + erf(z * T(0.70710678118654752440)));
}
template <typename T> __device__ T normal_pdf(T z) {
    z = hold(z, T(40));
    return exp(T(-0.5) * z * z) * T(0.39894228040143267794);
}

// sqrt(2/pi), of GELU's tanh form, and the bound beyond which that form is 0 or z.
#define ROOT T(0.79788456080286535588)
#define CUBE T(0.044715)
#define FLAT T(20)
#define LEAK T(0.01)
#define SELU_SCALE T(1.0507009873554805)
#define SELU_BOUND T(1.7580993408473766)

template <typename T> __device__ T activation(int which, T z) {
    switch (which) {
    case SIGN: return sign(z);
    case BINARY_STEP: return T(z > 0);
    case SIGMOID: return sigmoid(z);
    case TANH: return tanh(z);
    case RELU: return positive(z);
    case LEAKY_RELU: return z > 0 ? z : LEAK * z;
    case ELU: return z > 0 ? z : expm1(z);
    case SELU: return z > 0 ? SELU_SCALE * z : SELU_BOUND * expm1(z);
    case GELU: return z * normal_cdf(z);
    case GELU_TANH: {
        T held = hold(z, FLAT);
        return T(0.5) * z * (1 + tanh(ROOT * (held + CUBE * held * held * held)));
    }
    case SOFTPLUS: return softplus(z);
    case SWISH: return z * sigmoid(z);
    case MISH: return z * tanh(softplus(z));
    case EXP: return exp(z);
    case ERF: return erf(z);
    default: return z;
    }
}

template <typename T> __device__ T derivative(int which, T z, T h) {
    switch (which) {
    case SIGN: case BINARY_STEP: return T(0);
    case SIGMOID: return h * (1 - h);
    case TANH: return 1 - h * h;
    case RELU: return T(z > 0);
    case LEAKY_RELU: return LEAK + (1 - LEAK) * T(z > 0);
    case ELU: return z > 0 ? T(1) : h + 1;
    case SELU:  // h is below 0 where z is; NaN stays NaN
        return (h >= 0 ? T(0) : h) + SELU_BOUND + (SELU_SCALE - SELU_BOUND) * T(z > 0);
    case GELU: return normal_cdf(z) + hold(z, T(40)) * normal_pdf(z);
    case GELU_TANH: {
        z = hold(z, FLAT);
        T t = tanh(ROOT * (z + CUBE * z * z * z));
        return T(0.5) * (1 + t) + T(0.5) * z * (1 - t * t) * ROOT * (1 + 3 * CUBE * z * z);
    }
    case SOFTPLUS: return sigmoid(z);
    case SWISH: { T s = sigmoid(z); return s + h * (1 - s); }
    case MISH: { T t = tanh(softplus(z)); return t + z * sigmoid(z) * (1 - t * t); }
    case EXP: return h;
    default: return T(1);
    }
}
