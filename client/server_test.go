package oei_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

const password = "a password for the tests"

// What the examples and tests share: the program, and a server that runs it.
var (
	program string
	shared  *server
	address string // of shared
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oei-go-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "oei-ms")
	build := exec.Command("go", "build", "-o", program, "github.com/oei-ms/oei-ms")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	shared, err = start()
	if err != nil {
		panic(err)
	}
	defer shared.end()
	address = shared.address
	if err := prepare(); err != nil {
		panic(err)
	}
	return m.Run()
}

// prepare creates the plant that the examples show: a gateway with a sensor and a day of readings.
func prepare() error {
	ctx := context.Background()
	c, err := oei.Dial(ctx, address, oei.Password("admin", password))
	if err != nil {
		return err
	}
	defer c.Close()
	gateway, err := c.CreateGateway(ctx, oei.GatewayCreate{Name: "Press line 1"})
	if err != nil {
		return err
	}
	sensor, err := c.CreateSensor(ctx, oei.SensorCreate{
		GatewayID: gateway.ID,
		Name:      "Bearing",
		Type:      "temperature",
		Unit:      new("Cel"),
	})
	if err != nil {
		return err
	}
	var readings []oei.ReadingCreate
	begin := time.Now().Add(-24 * time.Hour)
	for i := range 1000 {
		readings = append(readings, oei.ReadingCreate{
			SensorID:  sensor.ID,
			Timestamp: new(begin.Add(time.Duration(i) * time.Minute)),
			Value:     oei.Value(20 + float64(i%10)),
		})
	}
	_, err = c.WriteReadings(ctx, nil, oei.ReadingsWriteRequest{Readings: readings})
	return err
}

// server runs the program on ports that stay the same across restarts.
type server struct {
	dir      string
	address  string
	settings []string
	cmd      *exec.Cmd
	out      *output
	ended    chan struct{}
}

// output collects what a program writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// serve starts a server that ends with the test.
func serve(t *testing.T, settings ...string) *server {
	t.Helper()
	s, err := start(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	return s
}

func start(settings ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "oei-go-server-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // as root the database runs as another user
		return nil, err
	}
	port, mqttPort := freePort(), freePort()
	s := &server{
		dir:     dir,
		address: "http://127.0.0.1:" + port,
		settings: append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "HOST=127.0.0.1",
			"PORT=" + port, "MQTT_PORT=" + mqttPort, "DATA_DIR=" + filepath.Join(dir, "data"),
			"ADMIN_PASSWORD=" + password,
		}, settings...),
	}
	return s, s.run()
}

// run starts the program and waits until it is ready.
func (s *server) run() error {
	s.out, s.ended = &output{}, make(chan struct{})
	s.cmd = exec.Command(program, "serve")
	s.cmd.Dir, s.cmd.Env = s.dir, s.settings
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // its output says why it ended
	}()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		res, err := http.Get(s.address + "/health/ready")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				http.DefaultClient.CloseIdleConnections()
				return nil
			}
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended:\n%s", s.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("the server is not ready:\n%s", s.out)
}

// stop ends the program regularly; kill does not let it finish anything.
func (s *server) stop() { s.signal(syscall.SIGTERM) }
func (s *server) kill() { s.signal(syscall.SIGKILL) }

func (s *server) signal(signal os.Signal) {
	_ = s.cmd.Process.Signal(signal) // it may have ended
	<-s.ended
}

func (s *server) end() {
	s.stop()
	_ = os.RemoveAll(s.dir)
}

// dial returns a client that is logged in as admin.
func (s *server) dial(t *testing.T, options ...oei.Option) *oei.Client {
	t.Helper()
	options = append([]oei.Option{oei.Password("admin", password)}, options...)
	c, err := oei.Dial(t.Context(), s.address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the server may have ended
	return c
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
