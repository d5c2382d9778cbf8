//! A real NVIDIA GPU, where there is one.

use std::collections::BTreeMap;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

/// The GPUs of this machine.
pub struct Gpus {
    nvml: Nvml,
}

impl Gpus {
    /// # Errors
    /// Why there is none: no driver library, or it does not start.
    pub fn open() -> Result<Self, String> {
        Nvml::init().map(|nvml| Self { nvml }).map_err(|e| e.to_string())
    }

    /// Memory and load over all GPUs, and the hottest temperature.
    pub fn read(&self, into: &mut BTreeMap<String, f64>) -> Result<(), String> {
        let count = self.nvml.device_count().map_err(|e| e.to_string())?;
        let (mut used, mut total, mut busy, mut hottest) = (0u64, 0u64, 0u32, 0u32);
        for index in 0..count {
            let gpu = self.nvml.device_by_index(index).map_err(|e| e.to_string())?;
            let memory = gpu.memory_info().map_err(|e| e.to_string())?;
            used += memory.used;
            total += memory.total;
            busy += gpu.utilization_rates().map_or(0, |u| u.gpu);
            hottest = hottest.max(gpu.temperature(TemperatureSensor::Gpu).unwrap_or(0));
        }
        into.insert("gpu.memory_used_bytes".into(), used as f64);
        into.insert("gpu.memory_total_bytes".into(), total as f64);
        into.insert("gpu.utilization_percent".into(), f64::from(busy) / f64::from(count.max(1)));
        into.insert("gpu.temperature_c".into(), f64::from(hottest));
        Ok(())
    }
}
