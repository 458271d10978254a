// Enough of CUDA for g++: a kernel's threads run in turn on one core of the host.
//
// A thread is a fiber with a stack of its own; at a barrier it hands on to the next one. A thread
// that waits at a barrier which others of its block or warp never reach is found and reported.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <typeinfo>
#include <ucontext.h>
#include <utility>
#include <vector>
using namespace std;

#define __global__ static
#define __device__
#define __shared__ static  // blocks run one after the other
struct dim3 { int x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

enum Waiting { READY, BLOCK, WARP_LEVEL, DONE };
struct Fiber {
    ucontext_t start;   // where it begins
    jmp_buf rest;       // where it went on to others; quicker than a context
    bool begun;
    Waiting waiting;
    dim3 index;
    double exchanged;
    vector<char> stack;
};
static vector<Fiber> fibers;
static ucontext_t unused;
static jmp_buf scheduler;
static int current;
static const char* failure = nullptr;

static void hand_on(Waiting reason) {
    int me = current;
    fibers[me].waiting = reason;
    if (!_setjmp(fibers[me].rest)) _longjmp(scheduler, 1);
    current = me;
    threadIdx = fibers[me].index;
}
static void __syncthreads() { hand_on(BLOCK); }
static void __threadfence() {}
template <typename T> T __shfl_xor_sync(unsigned, T x, int lanes) {
    int me = current;
    memcpy(&fibers[me].exchanged, &x, sizeof x);
    hand_on(WARP_LEVEL);
    T other;
    memcpy(&other, &fibers[me ^ lanes].exchanged, sizeof other);
    hand_on(WARP_LEVEL);
    return other;
}
static unsigned atomicInc(unsigned* address, unsigned limit) {
    unsigned old = *address;
    *address = old >= limit ? 0 : old + 1;
    return old;
}
static unsigned __float_as_uint(float x) { unsigned bits; memcpy(&bits, &x, 4); return bits; }

// Let go of everyone who waits for what all of their block, or of their warp, have reached.
static bool release(int begin, int end, Waiting reason) {
    bool waits = false;
    for (int i = begin; i < end; i++) {
        if (fibers[i].waiting == READY) return false;
        if (fibers[i].waiting == DONE) continue;
        if (fibers[i].waiting != reason) return false;
        waits = true;
    }
    for (int i = begin; waits && i < end; i++)
        if (fibers[i].waiting == reason) fibers[i].waiting = READY;
    return waits;
}

static void (*body)(void*);
static void* body_arguments;
static void enter() {
    body(body_arguments);
    hand_on(DONE);
}

static void go_on(int i) {
    current = i;
    threadIdx = fibers[i].index;
    if (_setjmp(scheduler)) return;
    if (fibers[i].begun) _longjmp(fibers[i].rest, 1);
    fibers[i].begun = true;
    swapcontext(&unused, &fibers[i].start);
}

static void run_block(int threads) {
    if ((int)fibers.size() < threads) fibers.resize(threads);
    for (int i = 0; i < threads; i++) {
        Fiber& f = fibers[i];
        if (f.stack.empty()) f.stack.resize(64 << 10);
        f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        f.waiting = READY;
        f.begun = false;
        getcontext(&f.start);
        f.start.uc_stack = {f.stack.data(), 0, f.stack.size()};
        f.start.uc_link = nullptr;
        makecontext(&f.start, enter, 0);
    }
    for (;;) {
        bool ran = false, live = false;
        for (int i = 0; i < threads; i++)
            if (fibers[i].waiting == READY) {
                ran = true;
                go_on(i);
            }
        bool released = false;
        for (int w = 0; w < threads; w += 32)
            released |= release(w, min(w + 32, threads), WARP_LEVEL);
        if (!released) released = release(0, threads, BLOCK);
        for (int i = 0; i < threads; i++) live |= fibers[i].waiting != DONE;
        if (!live) return;
        if (!ran && !released) { failure = "threads wait at a barrier that others never reach"; return; }
    }
}

template <typename... P, size_t... I>
const char* launch(void (*kernel)(P...), void** arguments, const int* shape, index_sequence<I...>) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    auto call = [&] { kernel(*(P*)arguments[I]...); };
    body = [](void* f) { (*(decltype(call)*)f)(); };
    body_arguments = &call;
    failure = nullptr;
    for (int z = 0; z < gridDim.z; z++)
        for (int y = 0; y < gridDim.y; y++)
            for (int x = 0; x < gridDim.x; x++) {
                blockIdx = {x, y, z};
                run_block(blockDim.x * blockDim.y * blockDim.z);
                if (failure) return failure;
            }
    return nullptr;
}
template <typename... P> const char* launch(void (*kernel)(P...), void** arguments, const int* shape) {
    return launch(kernel, arguments, shape, index_sequence_for<P...>());
}

// The types of a kernel's parameters as g++ abbreviates them: "PKf" points to const float.
template <typename... P> const char* types(void (*)(P...)) {
    static string names;
    names.clear();
    ((names += typeid(P).name(), names += ' '), ...);
    return names.c_str();
}
