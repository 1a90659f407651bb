package selfmonitor

import "golang.org/x/sys/windows"

// DiskFree is how many percent of the disk that dir is on are free for us.
func DiskFree(dir string) (float64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free, total, all uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &total, &all); err != nil {
		return 0, err
	}
	return 100 * float64(free) / float64(max(total, 1)), nil
}
