// SPDX-License-Identifier: GPL-2.0
// Data on its way to devices.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension Engine {
  /// Writes data to all places that it was given.
  ///
  /// - Parameter failure: What the last device said that could not be written to.
  /// - Returns: the places that could; devices of the others count as failed from here on.
  func writeData(
    _ bytes: RawSpan, to places: [ExtentPtr], _ failure: inout DeviceError?
  ) -> [ExtentPtr] {
    var good: [ExtentPtr] = []
    for place in places {
      guard let device = media.device(place.device) else { continue }
      do throws(DeviceError) {
        try device.write(bytes, atByte: place.offset * 512)
        // Not before: a flush that begins meanwhile does not cover it.
        unflushed.add(place.device)
        good.append(place)
      } catch {
        failures.noteWriteError(on: place.device)
        failure = error
      }
    }
    return good
  }
}
