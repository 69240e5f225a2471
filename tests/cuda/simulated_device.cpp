// A CUDA device in the host's memory, for a build of torch that has none: its tensors have values, and say cuda:0.
//
// Kernels are the CPU's, run on the same memory. Memory, random streams and the refusal to mix devices are the device's
// own; copies to and from it, and everything that a host would wait for, are counted.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorShape.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

using at::IValue;
using at::Tensor;
using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::Stream;

namespace {

const Device kGpu(DeviceType::CUDA, 0), kHost(DeviceType::CPU);
std::atomic<long long> waits{0}, uploads{0};

// Memory. What nobody has written yet reads as a huge number, so that using it shows in every loss.
struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* start = nullptr;
    if (bytes > 0) {
      start = std::aligned_alloc(64, (bytes + 63) & ~size_t{63});
      TORCH_CHECK(start != nullptr, "CUDA out of memory (simulated)");
      std::memset(start, 0x7f, bytes);
    }
    return c10::DataPtr(start, start, &std::free, kGpu);
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;

// One device, one stream, and nothing ever to wait for.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static Stream only() { return Stream(Stream::DEFAULT, kGpu); }
  DeviceType type() const override { return DeviceType::CUDA; }
  Device getDevice() const override { return kGpu; }
  Device exchangeDevice(Device) const override { return kGpu; }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  DeviceIndex deviceCount() const noexcept override { return 1; }
  Stream getStream(Device) const noexcept override { return only(); }
  Stream getNewStream(Device, int) const override { return only(); }
  Stream exchangeStream(Stream) const noexcept override { return only(); }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};

// Random numbers. As on a card, the state is a seed and an offset: 16 bytes, not the CPU's five thousand.
struct Generator final : c10::GeneratorImpl {
  uint64_t seed_value = c10::default_rng_seed_val, offset = 0;
  at::Generator host = at::detail::createCPUGenerator();

  Generator() : c10::GeneratorImpl(kGpu, DispatchKeySet(DispatchKey::CUDA)) {}

  at::Generator for_next_kernel() {
    offset += 4;
    host.set_current_seed(seed_value * 0x2545F4914F6CDD1DULL + offset);
    return host;
  }
  void set_current_seed(uint64_t value) override { seed_value = value, offset = 0; }
  uint64_t current_seed() const override { return seed_value; }
  uint64_t seed() override { return set_current_seed(c10::detail::getNonDeterministicRandom()), seed_value; }
  void set_offset(uint64_t value) override { offset = value; }
  uint64_t get_offset() const override { return offset; }
  void set_state(const c10::TensorImpl& state) override {
    TORCH_CHECK(state.numel() == 16, "RNG state is wrong size");
    const auto* words = static_cast<const uint64_t*>(state.data());
    seed_value = words[0], offset = words[1];
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    Tensor state = at::empty({16}, at::TensorOptions().dtype(at::kByte).device(kHost));
    const uint64_t words[] = {seed_value, offset};
    std::memcpy(state.data_ptr(), words, sizeof words);
    return state.getIntrusivePtr();
  }
  Generator* clone_impl() const override {
    auto* copy = new Generator;
    copy->seed_value = seed_value, copy->offset = offset;
    return copy;
  }
};

at::Generator& default_generator() {
  static at::Generator generator = at::make_generator<Generator>();
  return generator;
}

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  bool isPinnedPtr(const void*) const override { return false; }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  at::Allocator* getCUDADeviceAllocator() const override { return &memory; }
  const at::Generator& getDefaultGenerator(DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(DeviceIndex) const override {
    // Python asks for the device's own one first: a build without CUDA has no other way to get at it.
    static std::atomic<bool> asked{false};
    return asked.exchange(true) ? at::make_generator<Generator>() : default_generator();
  }
};

// One memory, seen as a tensor of the other device. Whole storages are taken, so that every view lies within.
Tensor seen_from(const Device& device, const Tensor& tensor, c10::DataPtr data, c10::Allocator* allocator) {
  const auto key = device.is_cuda() ? DispatchKey::CUDA : DispatchKey::CPU;
  auto storage = c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), tensor.storage().nbytes(), std::move(data), allocator, /*resizable=*/true);
  Tensor other = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(storage), DispatchKeySet(key), tensor.dtype());
  other.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) other.unsafeGetTensorImpl()->set_wrapped_number(true);
  return other;
}
Tensor on_host(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  return seen_from(kHost, tensor, c10::DataPtr(tensor.storage().mutable_data(), kHost), c10::GetCPUAllocator());
}
Tensor on_gpu(const Tensor& tensor) {  // keeps the host's tensor alive for as long as its memory is in use
  if (!tensor.defined() || tensor.is_cuda()) return tensor;
  auto* owner = new Tensor(tensor);
  c10::DataPtr data(tensor.storage().mutable_data(), owner, [](void* p) { delete static_cast<Tensor*>(p); }, kGpu);
  return seen_from(kGpu, tensor, std::move(data), &memory);
}

// A kernel's call: arguments go to the host, results come back; what was changed in place is the tensor that was given.
class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : op_(op) {}

  IValue host(const IValue& value, bool wants_generator) {
    if (value.isTensor()) return host(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(host(tensor));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (std::optional<Tensor> tensor : value.toOptionalTensorList()) {
        list.push_back(tensor ? std::optional<Tensor>(host(*tensor)) : std::nullopt);
      }
      return list;
    }
    if (value.isDevice()) return kHost;
    if (value.isGenerator() || wants_generator) {
      at::Generator generator = value.isGenerator() ? value.toGenerator() : default_generator();
      TORCH_CHECK(generator.device().is_cuda(), "Expected a 'cuda' device type for generator but found 'cpu'");
      return static_cast<Generator*>(generator.unsafeGetGeneratorImpl())->for_next_kernel();
    }
    return value;
  }
  IValue gpu(const IValue& value) const {
    if (value.isTensor()) return gpu(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(gpu(tensor));
      return list;
    }
    return value;
  }

 private:
  Tensor host(const Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (!tensor.is_cuda()) {
      static const std::set<std::string> mixing = {"aten::index.Tensor", "aten::index", "aten::index_put_",
                                                   "aten::_index_put_impl_", "aten::_pin_memory"};
      TORCH_CHECK(tensor.dim() == 0 || mixing.count(op_.operator_name().name),
                  "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (",
                  op_.operator_name().name, ")");
      return tensor;
    }
    for (const auto& [mine, theirs] : pairs_) if (mine.is_same(tensor)) return theirs;
    pairs_.emplace_back(tensor, on_host(tensor));
    return pairs_.back().second;
  }
  Tensor gpu(const Tensor& tensor) const {
    if (!tensor.defined()) return tensor;
    for (const auto& [mine, theirs] : pairs_) {
      if (!theirs.is_same(tensor)) continue;
      const bool moved = tensor.storage().data() != mine.storage().data();
      if (moved || mine.sizes() != tensor.sizes() || mine.strides() != tensor.strides()) {  // an out= that was resized
        auto* impl = mine.unsafeGetTensorImpl();
        if (moved) impl->set_storage_keep_dtype(on_gpu(tensor).storage());
        impl->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
      }
      return mine;
    }
    for (const auto& [mine, theirs] : pairs_) {
      if (tensor.storage().data() != nullptr && tensor.storage().data() == mine.storage().data()) {  // a view
        return at::native::as_strided_tensorimpl(mine, tensor.sizes(), tensor.strides(), tensor.storage_offset());
      }
    }
    return on_gpu(tensor);
  }

  const c10::OperatorHandle& op_;
  std::vector<std::pair<Tensor, Tensor>> pairs_;
};

void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  static const std::set<std::string> waiting = {"aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero",
                                                "aten::_unique2", "aten::bincount", "aten::unique_dim"};
  if (waiting.count(op.operator_name().name)) ++waits;
  const auto& arguments = op.schema().arguments();
  Call call(op);
  const size_t first = stack->size() - arguments.size();
  for (size_t i = 0; i < arguments.size(); ++i) {
    IValue& value = (*stack)[first + i];
    value = call.host(value, value.isNone() && arguments[i].type()->str().find("Generator") != std::string::npos);
  }
  op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) (*stack)[i] = call.gpu((*stack)[i]);
}

// What cannot be a kernel of the CPU: making tensors, looking at them otherwise, crossing over.
using Sizes = c10::IntArrayRef;
template <typename T>
using Maybe = std::optional<T>;

Tensor empty(Sizes size, Maybe<at::ScalarType> type, Maybe<at::Layout>, Maybe<Device>, Maybe<bool>,
             Maybe<at::MemoryFormat> format) {
  const DispatchKeySet key(DispatchKey::CUDA);
  return at::detail::empty_generic(size, &memory, key, at::dtype_or_default(type), format);
}
Tensor empty_strided(Sizes size, Sizes stride, Maybe<at::ScalarType> type, Maybe<at::Layout>, Maybe<Device>, Maybe<bool>) {
  const DispatchKeySet key(DispatchKey::CUDA);
  return at::detail::empty_strided_generic(size, stride, &memory, key, at::dtype_or_default(type));
}
Tensor& copy_(Tensor& self, const Tensor& source, bool) {
  if (!self.is_cuda()) ++waits;
  if (!source.is_cuda() && source.dim() > 0) ++uploads;
  on_host(self).copy_(on_host(source));
  return self;
}
at::Scalar local_scalar_dense(const Tensor& self) {
  ++waits;
  return at::_local_scalar_dense(on_host(self));
}
const Tensor& resize_(const Tensor& self, Sizes size, Maybe<at::MemoryFormat> format) {
  const size_t bytes = c10::multiply_integers(size) * self.element_size();
  if (bytes > self.storage().nbytes()) {
    c10::DataPtr larger = memory.allocate(bytes);
    std::memcpy(larger.get(), self.storage().data(), self.storage().nbytes());
    self.storage().set_data_ptr_noswap(std::move(larger));
    self.storage().set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  if (format && *format != at::MemoryFormat::Preserve) self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  return self;
}
Tensor& set_storage(Tensor& self, at::Storage source, int64_t offset, Sizes size, Sizes stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  const auto dense = c10::contiguous_strides(size);
  impl->set_sizes_and_strides(size, stride.empty() ? Sizes(dense) : stride, offset);
  return self;
}
Tensor& set_tensor(Tensor& self, const Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("unfold", at::native::unfold);
  library.impl("copy_", copy_);
  library.impl("_local_scalar_dense", local_scalar_dense);
  library.impl("resize_", resize_);
  library.impl("set_.source_Storage_storage_offset", set_storage);
  library.impl("set_.source_Tensor", set_tensor);
  // These choose a backend by the device of their input: the choice is the CPU's.
  library.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
  library.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, Hooks);
}

extern "C" {
void install() {
  c10::impl::registerDeviceGuard(DeviceType::CUDA, new Guard);
  c10::SetAllocator(DeviceType::CUDA, &memory, 100);
}
long long count_waits() { return waits; }
long long count_uploads() { return uploads; }
}
