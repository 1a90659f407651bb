//go:build unix

package selfmonitor

import "golang.org/x/sys/unix"

// DiskFree is how many percent of the disk that dir is on are free for us.
func DiskFree(dir string) (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	// what is kept for root counts as neither
	free, used := float64(st.Bavail), float64(st.Blocks-st.Bfree)
	return 100 * free / max(used+free, 1), nil
}
