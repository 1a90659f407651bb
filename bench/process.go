package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oei-ms/oei-ms/internal/syncbuf"
)

// service is the program under measurement, a process with a private PostgreSQL cluster.
type service struct {
	cmd       *exec.Cmd
	dir       string
	api, mqtt string
	out       syncbuf.Buffer
}

var listening = regexp.MustCompile(`API +http://(\S+)/docs\s+MQTT v5 +(?:by the broker at )?(\S+)`)

// startService builds the program, starts it with settings, and waits until it is ready.
func startService(ctx context.Context, dir string, settings ...string) (*service, error) {
	program, err := build(ctx, dir)
	if err != nil {
		return nil, err
	}
	return startProgram(ctx, dir, program, settings...)
}

// build builds the program of the checkout.
func build(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "oei-ms")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return program, nil
}

// startProgram starts program with settings and waits until it is ready.
func startProgram(
	ctx context.Context, dir, program string, settings ...string,
) (*service, error) {
	s := &service{dir: filepath.Join(dir, "data")}
	s.cmd = exec.Command(program, "serve")
	s.cmd.Dir = dir
	s.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATA_DIR=" + s.dir,
		"HOST=127.0.0.1", "PORT=0", "MQTT_PORT=0",
		"LOG_LEVEL=warn", "OEI_BROKER_RECEIVE_MAXIMUM=2000",
	}, settings...)
	for _, v := range os.Environ() { // to try settings out
		if strings.HasPrefix(v, "OEI_") {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if m := listening.FindStringSubmatch(s.out.String()); m != nil {
			s.api, s.mqtt = m[1], m[2]
			if res, err := http.Get("http://" + s.api + "/health/ready"); err == nil {
				_ = res.Body.Close()
				if res.StatusCode == http.StatusOK {
					return s, nil
				}
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("the service does not become ready:\n%s",
				s.out.String()), s.stop())
		}
	}
}

var storedMetric = regexp.MustCompile(`oei_ingest_readings_total\{outcome="stored"\} (\S+)`)

// stored returns the number of readings that the service has stored.
func (s *service) stored() (int64, error) {
	res, err := http.Get("http://" + s.api + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	m := storedMetric.FindSubmatch(text)
	if m == nil {
		return 0, errors.New("the service does not say what it has stored")
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	return int64(n), err
}

func (s *service) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	return s.cmd.Wait()
}

// usage is the resource usage of the service and its database.
type usage struct {
	service, database time.Duration // CPU
	peak              int64         // bytes of the service's memory since the last call
}

// usage reads the resource usage from /proc; elsewhere than on Linux it is zero.
func (s *service) usage() usage {
	var u usage
	pid := s.cmd.Process.Pid
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	parents, times := map[int]int{}, map[int]time.Duration{}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		parents[id], _ = strconv.Atoi(f[1])
		for _, field := range f[11:13] { // utime and stime, in hundredths of a second
			ticks, _ := strconv.Atoi(field)
			times[id] += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	for id, t := range times {
		switch p := parents[id]; {
		case id == pid:
			u.service = t
		case p == pid || parents[p] == pid:
			u.database += t
		}
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if m := regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status); m != nil {
		kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
		u.peak = kb << 10
	}
	// resets the peak
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
	return u
}
