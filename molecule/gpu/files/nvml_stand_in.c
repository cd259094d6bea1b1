/* A stand-in for NVIDIA's libnvidia-ml.so.1, not that library: it answers what Slurm's plugin gpu/nvml asks when slurmd looks
 * for GPUs, of an A100 for each /dev/nvidia0, /dev/nvidia1 and so on. It is built without any header, so that a compiler alone
 * suffices. */
int access(const char *path, int mode);
int snprintf(char *text, unsigned long size, const char *format, ...);

enum { DONE = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
/* A handle is the number of the GPU and one, or that of the instance and 100. */
typedef unsigned long handle;
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
struct attributes { unsigned engines[6], gpu_slices, compute_slices; unsigned long long memory; };

static const unsigned instances[] = {7, 8};

static int exists(const char *format, unsigned number)
{
	char path[100];
	snprintf(path, sizeof(path), format, number);
	return access(path, 0) == 0;
}

int nvmlInit_v2(void) { return DONE; }
int nvmlInit(void) { return DONE; }
int nvmlShutdown(void) { return DONE; }
const char *nvmlErrorString(int code) { return code == NOT_SUPPORTED ? "Not Supported" : "the stand-in says no"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "stand-in"); return DONE; }
int nvmlSystemGetNVMLVersion(char *text, unsigned size) { snprintf(text, size, "stand-in"); return DONE; }

int nvmlDeviceGetCount_v2(unsigned *count)
{
	for (*count = 0; exists("/dev/nvidia%u", *count); ++*count);
	return DONE;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *device) { *device = index + 1; return DONE; }
int nvmlDeviceGetMinorNumber(handle device, unsigned *minor) { *minor = device - 1; return DONE; }
int nvmlDeviceGetName(handle device, char *text, unsigned size) { snprintf(text, size, "NVIDIA A100-SXM4-80GB"); return DONE; }
int nvmlDeviceGetUUID(handle device, char *text, unsigned size) { snprintf(text, size, "GPU-%lu", device); return DONE; }
int nvmlDeviceGetPciInfo_v3(handle device, struct pci *pci)
{
	pci->domain = 0; pci->bus = device - 1; pci->device = 0;
	snprintf(pci->bus_id, sizeof(pci->bus_id), "0000:%02lX:00.0", device - 1);
	return DONE;
}
int nvmlDeviceGetCpuAffinity(handle device, unsigned size, unsigned long *set)
{
	for (unsigned word = 0; word < size; word++) set[word] = ~0UL;
	return DONE;
}
int nvmlDeviceGetNvLinkState(handle device, unsigned link, unsigned *active) { return NOT_SUPPORTED; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(handle device, unsigned link, struct pci *pci) { return NOT_SUPPORTED; }
int nvmlDeviceGetSupportedMemoryClocks(handle device, unsigned *count, unsigned *clocks) { return NOT_SUPPORTED; }
int nvmlDeviceGetSupportedGraphicsClocks(handle device, unsigned memory, unsigned *count, unsigned *clocks) { return NOT_SUPPORTED; }

/* A GPU is divided when the driver shows its instances. */
int nvmlDeviceGetMigMode(handle device, unsigned *current, unsigned *pending)
{
	*current = *pending = exists("/proc/driver/nvidia/capabilities/gpu%u/mig/gi7", device - 1);
	return DONE;
}
int nvmlDeviceGetMaxMigDeviceCount(handle device, unsigned *count) { *count = 7; return DONE; }
int nvmlDeviceGetMigDeviceHandleByIndex(handle device, unsigned index, handle *instance)
{
	if (index >= sizeof(instances) / sizeof(*instances)) return NOT_FOUND;
	*instance = index + 100;
	return DONE;
}
int nvmlDeviceGetGpuInstanceId(handle instance, unsigned *id) { *id = instances[instance - 100]; return DONE; }
int nvmlDeviceGetComputeInstanceId(handle instance, unsigned *id) { *id = 0; return DONE; }
int nvmlDeviceGetAttributes_v2(handle instance, struct attributes *told)
{
	told->gpu_slices = told->compute_slices = 1;
	told->memory = 9728;
	return DONE;
}

/* The plugin is not loaded without these. They are asked while a job runs, in clusters that count the use of GPUs or set their
 * clocks; the tests do neither. */
#define REFUSE(name) int name(void) { return NOT_SUPPORTED; }
REFUSE(nvmlDeviceGetApplicationsClock)
REFUSE(nvmlDeviceSetApplicationsClocks)
REFUSE(nvmlDeviceResetApplicationsClocks)
REFUSE(nvmlDeviceGetComputeRunningProcesses_v3)
REFUSE(nvmlDeviceGetGraphicsRunningProcesses_v3)
REFUSE(nvmlDeviceGetProcessUtilization)
