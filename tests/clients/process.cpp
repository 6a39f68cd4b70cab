// What the library does to the process around it: how many threads it has, which signals they take, what is left in a child after
// a fork, and how much stack a call needs. Arguments: weights, and one of threads, signals, fork, busy, stack. Says nothing where
// all is as it should be.

#include <inctrl.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <pthread.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#define EXPECT(condition) expect((condition), #condition, __LINE__)

static void expect(bool holds, const char *what, int line) {
    if (!holds) {
        std::fprintf(stderr, "line %d: not so: %s (last error: %s)\n", line, what, inctrl_last_error());
        _exit(1);
    }
}

static const std::size_t SIDE = 64;

static std::vector<unsigned char> picture(unsigned seed) {
    std::vector<unsigned char> pixels(SIDE * SIDE);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        pixels[i] = static_cast<unsigned char>((i * (7 + seed) + i / 64 * 5) % 251);
    }
    return pixels;
}

static inctrl_frame view(const std::vector<unsigned char> &pixels) {
    return inctrl::frame(pixels.data(), SIDE, SIDE, INCTRL_MONO8);
}

// A line of a status file of the kernel's, after its name.
static std::string line_of(const std::string &path, const std::string &name) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, name.size(), name) == 0) return line.substr(name.size());
    }
    return "";
}

static int threads_now() { return std::atoi(line_of("/proc/self/status", "Threads:").c_str()); }

// Threads that the kernel has not removed yet are waited for.
static bool threads_become(int count) {
    for (int i = 0; i < 2000 && threads_now() != count; ++i) usleep(1000);
    return threads_now() == count;
}

static float score(const inctrl::Scorer &scorer, const inctrl_frame &frame) {
    inctrl::Result result;
    inctrl::check(scorer.score(frame, result));
    return result->score;
}

static bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

static void threads(const char *weights) {
    const auto normal = picture(1), query = picture(2);
    EXPECT(threads_now() == 1);
    {
        std::vector<inctrl::Scorer> last;
        float expected = 0;
        {
            const inctrl::Engine engine(weights, "cpu", 16);
            EXPECT(threads_become(16));
            const auto bank = inctrl::Bank::build(engine, "plate", {view(normal)}, INCTRL_FIT_CROP);
            const inctrl::Slot slot(engine, bank);
            std::vector<inctrl::Scorer> scorers;
            for (int i = 0; i < 40; ++i) scorers.emplace_back(engine, slot);
            expected = score(scorers[0], view(query));
            for (const auto &scorer : scorers) EXPECT(same(score(scorer, view(query)), expected));
            slot.swap(inctrl::Bank::build(engine, "plate", {view(normal)}, INCTRL_FIT_CROP));
            EXPECT(threads_become(16));
            last.push_back(std::move(scorers[7]));
        }
        // The threads are there as long as anybody uses them.
        EXPECT(threads_become(16));
        EXPECT(same(score(last[0], view(query)), expected));
    }
    EXPECT(threads_become(1));
}

static void signals(const char *weights) {
    const auto normal = picture(1);
    const inctrl::Engine engine(weights, "cpu", 4);
    const inctrl::Slot slot(engine, inctrl::Bank::build(engine, "plate", {view(normal)}, INCTRL_FIT_CROP));
    const inctrl::Scorer scorer(engine, slot);
    // The library's threads leave all signals but those of faults; the caller's mask is as before.
    DIR *tasks = opendir("/proc/self/task");
    EXPECT(tasks != nullptr);
    int helpers = 0;
    while (const dirent *task = readdir(tasks)) {
        if (task->d_name[0] == '.') continue;
        const auto blocked =
            std::strtoull(line_of(std::string("/proc/self/task/") + task->d_name + "/status", "SigBlk:").c_str(), nullptr, 16);
        const auto has = [&](int signal) { return (blocked >> (signal - 1) & 1) != 0; };
        const bool own = std::atoi(task->d_name) == getpid();
        helpers += !own;
        for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGPIPE, SIGPROF, SIGRTMIN + 3}) {
            EXPECT(has(signal) != own);
        }
        for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) EXPECT(!has(signal));
    }
    closedir(tasks);
    EXPECT(helpers == 3);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    EXPECT(pthread_sigmask(SIG_BLOCK, &mask, nullptr) == 0);
    for (int i = 0; i < 20; ++i) {
        EXPECT(kill(getpid(), SIGTERM) == 0);
        score(scorer, view(normal));
        int signal = 0;
        EXPECT(sigwait(&mask, &signal) == 0 && signal == SIGTERM);
    }
}

struct Opened {
    inctrl_engine *engine = nullptr;
    inctrl_bank *bank = nullptr;
    inctrl_slot *slot = nullptr;
    inctrl_scorer *scorer = nullptr;

    int32_t score(const inctrl_frame &frame, float &score) const { return score_with(scorer, frame, score); }

    static int32_t score_with(inctrl_scorer *scorer, const inctrl_frame &frame, float &score) {
        inctrl_result result{};
        result.struct_size = sizeof result;
        const int32_t status = inctrl_scorer_score(scorer, &frame, 0, &result);
        score = result.score;
        return status;
    }

    void close() {
        EXPECT(inctrl_scorer_close(&scorer) == INCTRL_OK && scorer == nullptr);
        EXPECT(inctrl_slot_close(&slot) == INCTRL_OK && slot == nullptr);
        EXPECT(inctrl_bank_close(&bank) == INCTRL_OK && bank == nullptr);
        EXPECT(inctrl_engine_close(&engine) == INCTRL_OK && engine == nullptr);
    }
};

static Opened open(const char *weights, const inctrl_frame &normal) {
    Opened opened;
    inctrl_engine_options options{};
    options.struct_size = sizeof options;
    options.weights = weights;
    options.device = "cpu";
    options.threads = 3;
    EXPECT(inctrl_engine_open(&options, &opened.engine) == INCTRL_OK);
    EXPECT(inctrl_bank_build(opened.engine, "plate", INCTRL_FIT_CROP, &normal, 1, nullptr, &opened.bank) == INCTRL_OK);
    EXPECT(inctrl_slot_create(opened.engine, opened.bank, &opened.slot) == INCTRL_OK);
    EXPECT(inctrl_scorer_create(opened.engine, opened.slot, 1, &opened.scorer) == INCTRL_OK);
    return opened;
}

// Does `work` in a child, which has a minute.
template <typename Work> static void in_child(Work work) {
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        alarm(60);
        work();
        _exit(0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A fork between calls: everything goes on in the child, on the thread that calls.
static void forked(const char *weights) {
    const auto normal = picture(1), query = picture(2);
    Opened opened = open(weights, view(normal));
    float expected = 0, found = 0;
    EXPECT(opened.score(view(query), expected) == INCTRL_OK);
    in_child([&] { opened.close(); });
    in_child([&] {
        EXPECT(opened.score(view(query), found) == INCTRL_OK && same(found, expected));
        Opened second = opened;
        EXPECT(inctrl_bank_build(opened.engine, "plate", INCTRL_FIT_CROP, nullptr, 0, nullptr, &second.bank) != INCTRL_OK);
        const inctrl_frame frame = view(normal);
        EXPECT(inctrl_bank_build(opened.engine, "plate", INCTRL_FIT_CROP, &frame, 1, nullptr, &second.bank) == INCTRL_OK);
        EXPECT(inctrl_slot_swap(opened.slot, second.bank, nullptr) == INCTRL_OK);
        EXPECT(inctrl_scorer_create(opened.engine, opened.slot, 2, &second.scorer) == INCTRL_OK);
        EXPECT(Opened::score_with(second.scorer, view(query), found) == INCTRL_OK && same(found, expected));
        EXPECT(threads_now() == 1);
        // A child may open an engine of its own, which has threads, and fork in its turn.
        Opened own = open(weights, view(normal));
        EXPECT(threads_become(3));
        EXPECT(own.score(view(query), found) == INCTRL_OK && same(found, expected));
        in_child([&] {
            EXPECT(own.score(view(query), found) == INCTRL_OK && same(found, expected));
            own.close();
        });
        own.close();
        EXPECT(threads_become(1));
        EXPECT(inctrl_scorer_close(&second.scorer) == INCTRL_OK && inctrl_bank_close(&second.bank) == INCTRL_OK);
        opened.close();
    });
    EXPECT(opened.score(view(query), found) == INCTRL_OK && same(found, expected));
    opened.close();
}

// Forks while threads of the parent score and swap banks: the child may be refused, in words, and never waits for ever.
static void busy(const char *weights) {
    const auto normal = picture(1), query = picture(2);
    Opened opened = open(weights, view(normal));
    float expected = 0;
    EXPECT(opened.score(view(query), expected) == INCTRL_OK);
    std::atomic<bool> stop{false};
    std::thread scoring([&] {
        for (float score; !stop;) EXPECT(opened.score(view(query), score) == INCTRL_OK && same(score, expected));
    });
    std::thread swapping([&] {
        while (!stop) EXPECT(inctrl_slot_swap(opened.slot, opened.bank, nullptr) == INCTRL_OK);
    });
    int inherited = 0, made = 0;
    for (int i = 0; i < 30; ++i) {
        usleep(static_cast<useconds_t>(500 + 137 * i));
        int said[2];
        EXPECT(pipe(said) == 0);
        in_child([&] {
            float found = 0;
            char done[2] = {0, 0};
            const int32_t status = opened.score(view(query), found);
            EXPECT((status == INCTRL_OK && same(found, expected)) ||
                   (status == INCTRL_ERROR_BUSY && std::strstr(inctrl_last_error(), "forked")));
            done[0] = status == INCTRL_OK;
            inctrl_scorer *scorer = nullptr;
            const int32_t create = inctrl_scorer_create(opened.engine, opened.slot, 1, &scorer);
            if (create == INCTRL_OK) {
                EXPECT(Opened::score_with(scorer, view(query), found) == INCTRL_OK && same(found, expected));
            } else {
                EXPECT(create == INCTRL_ERROR_DEVICE && std::strstr(inctrl_last_error(), "when the process forked"));
            }
            done[1] = create == INCTRL_OK;
            const int32_t swap = inctrl_slot_swap(opened.slot, opened.bank, nullptr);
            EXPECT(swap == INCTRL_OK || (swap == INCTRL_ERROR_DEVICE && std::strstr(inctrl_last_error(), "when the process forked")));
            EXPECT(inctrl_scorer_close(&scorer) == INCTRL_OK);
            opened.close();
            EXPECT(write(said[1], done, 2) == 2);
        });
        char done[2];
        EXPECT(read(said[0], done, 2) == 2);
        close(said[0]);
        close(said[1]);
        inherited += done[0];
        made += done[1];
    }
    stop = true;
    scoring.join();
    swapping.join();
    opened.close();
    std::printf("of 30 children %d used the parent's scorer and %d made one\n", inherited, made);
}

// All that a program does, from the first call to the last, in the thread that calls it.
static void *everything(void *weights) {
    const auto good = picture(1), other = picture(2);
    const inctrl::Engine engine(static_cast<const char *>(weights), "cpu", 2);
    engine.self_test();
    const auto bank = inctrl::Bank::build(engine, "metal nut", {view(good)}, INCTRL_FIT_LETTERBOX);
    const inctrl::Slot slot(engine, bank.with_thresholds(.25F, .5F, .5F));
    const inctrl::Scorer scorer(engine, slot, 2);
    scorer.warm_up(SIDE, SIDE, INCTRL_BAYER_RG8, 1);
    inctrl::Results results;
    EXPECT(scorer.score_batch({view(good), view(other)}, results) == INCTRL_OK);
    slot.swap(bank);
    EXPECT(score(scorer, view(other)) > score(scorer, view(good)));
    inctrl_bank *none = nullptr;
    EXPECT(inctrl_bank_open("/absent", &none) == INCTRL_ERROR_IO);
    return nullptr;
}

static void stack(char *weights) {
    pthread_attr_t attributes;
    pthread_t thread;
    EXPECT(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 64 << 10) == 0);
    EXPECT(pthread_create(&thread, &attributes, everything, weights) == 0);
    EXPECT(pthread_join(thread, nullptr) == 0);
    pthread_attr_destroy(&attributes);
}

int main(int count, char **arguments) {
    EXPECT(count == 3);
    const std::string mode = arguments[2];
    if (mode == "threads") threads(arguments[1]);
    else if (mode == "signals") signals(arguments[1]);
    else if (mode == "fork") forked(arguments[1]);
    else if (mode == "busy") busy(arguments[1]);
    else if (mode == "stack") stack(arguments[1]);
    else EXPECT(!"a mode");
}
