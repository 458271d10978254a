// Updates of all parameters at once, in place.

template <typename T> __global__ void sgd(T* p, const T* g, const T* rate, long long n) {
    for (long long i = first(); i < n; i += all()) p[i] -= *rate * g[i];
}

template <typename T>
__global__ void momentum(T* p, const T* g, T* v, const T* rate, T mu, int nesterov, long long n) {
    for (long long i = first(); i < n; i += all()) {
        T moved = mu * v[i] + g[i];
        v[i] = moved;
        p[i] -= *rate * (nesterov ? g[i] + mu * moved : moved);
    }
}

template <typename T>
__global__ void adagrad(T* p, const T* g, T* s, const T* rate, T epsilon, long long n) {
    for (long long i = first(); i < n; i += all()) {
        T square = s[i] + g[i] * g[i];
        s[i] = square;
        p[i] -= *rate * g[i] / (sqrt(square) + epsilon);
    }
}

template <typename T>
__global__ void rmsprop(T* p, const T* g, T* s, const T* rate, T rho, T rest, T epsilon,
                        long long n) {
    for (long long i = first(); i < n; i += all()) {
        T square = rho * s[i] + rest * (g[i] * g[i]);
        s[i] = square;
        p[i] -= *rate * g[i] / (sqrt(square) + epsilon);
    }
}

// Four neighbours, which a thread loads and stores at once where the arrays allow it.
template <typename T> struct alignas(4 * sizeof(T)) Four { T of[4]; };

template <typename T> struct Adam {
    T c0, c1, c2, beta1, rest1, beta2, rest2, epsilon;
    __device__ void update(T& p, T g, T& m, T& v) const {
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * (g * g);
        p = c2 * p - c0 * m / (c1 * sqrt(v) + epsilon);
    }
};

// c holds the step's [rate/(1 - beta1^t), 1/sqrt(1 - beta2^t), 1 - rate decay].
template <typename T>
__global__ void adam(T* p, const T* g, T* m, T* v, const T* c, T beta1, T rest1, T beta2, T rest2,
                     T epsilon, long long n) {
    const Adam<T> adam = {c[0], c[1], c[2], beta1, rest1, beta2, rest2, epsilon};
    size_t places = (size_t)p | (size_t)g | (size_t)m | (size_t)v;
    long long fours = places % sizeof(Four<T>) ? 0 : n / 4;
    for (long long i = first(); i < fours; i += all()) {
        Four<T> theta = ((Four<T>*)p)[i], grad = ((const Four<T>*)g)[i];
        Four<T> mean = ((Four<T>*)m)[i], square = ((Four<T>*)v)[i];
        for (int k = 0; k < 4; k++)
            adam.update(theta.of[k], grad.of[k], mean.of[k], square.of[k]);
        ((Four<T>*)p)[i] = theta;
        ((Four<T>*)m)[i] = mean;
        ((Four<T>*)v)[i] = square;
    }
    for (long long i = 4 * fours + first(); i < n; i += all()) adam.update(p[i], g[i], m[i], v[i]);
}
