package main

import (
	"bytes"
	"fmt"
	"os"
)

// memory is how much of the machine's the program has, in bytes; 0 when it has ended.
func (p *process) memory() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	var kib int
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	_, _ = fmt.Sscan(string(rest), &kib) // stays 0
	return kib << 10
}
