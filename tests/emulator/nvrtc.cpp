// libnvrtc: makes the image that the emulated driver takes. It compiles nothing: the kernels are in the driver.
#include <cstring>
#include <string>

#include "device.h"

namespace {

constexpr int kSuccess = 0, kInvalidInput = 3, kInvalidProgram = 4, kCompilation = 6;
constexpr char kImage[] = "inctrl emulator image";
// Text that stands for an error of syntax.
constexpr char kError[] = "inctrl_emulator_syntax_error";

struct Program {
    std::string source, log;
    bool compiled = false;
};

}  // namespace

// Of no release: images of the emulator must not be taken for those of a real compiler.
EMULATOR_API int nvrtcVersion(int* major, int* minor) {
    *major = 0;
    *minor = 1;
    return kSuccess;
}

EMULATOR_API const char* nvrtcGetErrorString(int code) { return code == kCompilation ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }

EMULATOR_API int nvrtcCreateProgram(Program** program, const char* source, const char*, int headers, const char* const*,
                                    const char* const*) {
    if (!source || headers) return kInvalidInput;
    *program = new Program{source, "", false};
    return kSuccess;
}

EMULATOR_API int nvrtcDestroyProgram(Program** program) {
    if (!program || !*program) return kInvalidProgram;
    delete *program;
    *program = nullptr;
    return kSuccess;
}

EMULATOR_API int nvrtcCompileProgram(Program* program, int, const char* const*) {
    if (!program) return kInvalidProgram;
    if (program->source.find(kError) != std::string::npos) {
        program->log = "kernels.cu(1): error: syntax error";
        return kCompilation;
    }
    program->compiled = true;
    return kSuccess;
}

EMULATOR_API int nvrtcGetPTXSize(const Program* program, size_t* bytes) {
    if (!program || !program->compiled) return kInvalidProgram;
    *bytes = sizeof kImage;
    return kSuccess;
}

EMULATOR_API int nvrtcGetPTX(const Program* program, char* text) {
    if (!program || !program->compiled) return kInvalidProgram;
    std::memcpy(text, kImage, sizeof kImage);
    return kSuccess;
}

EMULATOR_API int nvrtcGetProgramLogSize(const Program* program, size_t* bytes) {
    if (!program) return kInvalidProgram;
    *bytes = program->log.size() + 1;
    return kSuccess;
}

EMULATOR_API int nvrtcGetProgramLog(const Program* program, char* text) {
    if (!program) return kInvalidProgram;
    std::memcpy(text, program->log.c_str(), program->log.size() + 1);
    return kSuccess;
}
