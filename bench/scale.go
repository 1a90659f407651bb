package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/loopback"
	"github.com/oei-ms/oei-ms/internal/postgres"
)

// site is what instances share, and their sockets: each subscribed to one gateway, together to all.
type site struct {
	dir     string
	cluster *postgres.Cluster
	db      *sql.DB
	keys    []string
	redis   *exec.Cmd
	port    string // of Redis
	version int    // of the next run

	broker     string // where Mosquitto listens
	brokerPid  int
	stopBroker func()
}

const liveSockets = 60

// scale measures one, two and three instances on one machine with one PostgreSQL and one Redis,
// with a Mosquitto as the external broker and with their own brokers.
func scale(ctx context.Context, o options) (err error) {
	s, err := openSite(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fmt.Printf("%-52s %10s %10s %10s  %s\n", "", "messages/s", "readings/s", "pushed/s",
		"cores used: instances, PostgreSQL, Mosquitto, Redis, load; CPU µs/reading: instances, "+
			"PostgreSQL")
	for _, behind := range []string{"mosquitto", "embedded"} {
		for _, points := range []int{1, o.points} {
			for n := 1; n <= 3; n++ {
				name := fmt.Sprintf("%s-%d", behind, points)
				if o.only != "" && o.only != behind && o.only != name {
					continue
				}
				if err := s.measure(ctx, o, behind == "mosquitto", points, n); err != nil {
					return fmt.Errorf("%s, %d instances: %w", name, n, err)
				}
			}
		}
	}
	return nil
}

func openSite(ctx context.Context, o options) (s *site, err error) {
	s = &site{stopBroker: func() {}}
	if s.dir, err = os.MkdirTemp("", "oei-ms-bench-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o711); err != nil { // as root the database runs as another user
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if s.cluster, err = postgres.Start(ctx,
		postgres.Config{DataDir: filepath.Join(s.dir, "postgres")}, log); err != nil {
		return nil, err
	}
	if s.broker, s.brokerPid, s.stopBroker, err = startMosquitto(ctx, s.dir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	port, err := loopback.FreePort()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.port = strconv.Itoa(port)
	s.redis = exec.Command("redis-server", "--port", s.port, "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no")
	if err := s.redis.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("redis-server: %w (./task setup installs it)", err),
			s.close())
	}
	first, err := startService(ctx, s.dir, s.settings(0, false)...) // makes the schema
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := first.stop(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.db, err = sql.Open("postgres", s.cluster.DSN(postgres.Database)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.keys, err = register(ctx, s.db, o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) close() error {
	if s.db != nil {
		_ = s.db.Close()
	}
	if s.redis != nil && s.redis.Process != nil {
		_ = s.redis.Process.Kill()
		_ = s.redis.Wait()
	}
	s.stopBroker()
	return errors.Join(s.cluster.Stop(context.Background()), os.RemoveAll(s.dir))
}

// settings returns the settings of instance i.
func (s *site) settings(i int, behind bool) []string {
	all := []string{
		"DATA_DIR=" + filepath.Join(s.dir, fmt.Sprint("instance-", i)),
		"DATABASE_URL=" + s.cluster.DSN(postgres.Database),
		"REDIS_URL=redis://127.0.0.1:" + s.port,
		"SECRET_KEY=a secret key of the benchmark, the same everywhere",
		"ADMIN_PASSWORD=" + benchPassword,
	}
	if behind {
		host, port, _ := net.SplitHostPort(s.broker)
		all = append(all, "MQTT_HOST="+host, "MQTT_PORT="+port,
			fmt.Sprint("OEI_MQTT_CLIENT_ID=bench-", i))
	}
	return all
}

// measure publishes at full speed to n instances, checks that acknowledged readings are stored, and
// prints a line.
func (s *site) measure(ctx context.Context, o options, behind bool, points, n int) (err error) {
	var services []*service
	defer func() {
		for _, sv := range services {
			err = errors.Join(err, sv.stop())
		}
	}()
	for i := range n {
		sv, err := startService(ctx, s.dir, s.settings(i, behind)...)
		if err != nil {
			return err
		}
		services = append(services, sv)
	}
	var pushed atomic.Int64
	hangUp, err := listen(ctx, services, o.gateways, &pushed)
	if err != nil {
		return err
	}
	defer hangUp()
	if _, err := s.db.ExecContext(ctx, `CHECKPOINT`); err != nil {
		return err
	}
	before, err := s.stored(ctx)
	if err != nil {
		return err
	}
	s.version++
	f := &fleet{o: o, points: points, version: s.version}
	for _, sv := range services {
		f.addrs = append(f.addrs, sv.mqtt)
	}
	if behind {
		f.addrs = []string{s.broker}
		if points > 1 {
			// more than is stored, and not so much that what the broker holds takes minutes
			f.rate = 250_000 / points
		}
	}
	half, end := make(chan sample, 1), make(chan sample, 1)
	time.AfterFunc(o.duration/2, func() { half <- s.sample(services, &pushed) })
	time.AfterFunc(o.duration, func() { end <- s.sample(services, &pushed) })
	secrets := make([]string, len(s.keys))
	for i := range secrets {
		secrets[i] = secret
	}
	if err := f.run(ctx, s.keys, secrets); err != nil {
		return err
	}
	a, b := <-half, <-end
	want := before + f.acked.Load()*int64(points)
	// what the broker still has
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, err := s.stored(ctx)
		if err != nil {
			return err
		}
		if got == want {
			break
		}
		if got > want || time.Now().After(deadline) {
			return fmt.Errorf("%d readings were acknowledged, %d stored", want-before, got-before)
		}
	}
	where := "gateways spread over"
	if behind {
		where = "Mosquitto to"
	}
	seconds, readings := b.at.Sub(a.at).Seconds(), float64(b.stored-a.stored)
	cores := func(of func(sample) time.Duration) float64 {
		return (of(b) - of(a)).Seconds() / seconds
	}
	micros := func(of func(sample) time.Duration) float64 {
		return float64((of(b) - of(a)).Microseconds()) / max(readings, 1)
	}
	instances := func(x sample) time.Duration { return x.instances }
	database := func(x sample) time.Duration { return x.database }
	fmt.Printf("%-52s %10.0f %10.0f %10.0f  %.2f, %.2f, %.2f, %.2f, %.2f; %.1f, %.1f\n",
		fmt.Sprintf("%s %d, readings in a message: %d", where, n, points),
		readings/float64(points)/seconds, readings/seconds, float64(b.pushed-a.pushed)/seconds,
		cores(instances), cores(database),
		cores(func(x sample) time.Duration { return x.broker }),
		cores(func(x sample) time.Duration { return x.redis }),
		cores(func(x sample) time.Duration { return x.load }), micros(instances), micros(database))
	return nil
}

func (s *site) stored(ctx context.Context) (n int64, err error) {
	err = s.db.QueryRowContext(ctx, countStored).Scan(&n)
	return n, err
}

// sample holds the counters at a moment.
type sample struct {
	at                                       time.Time
	stored, pushed                           int64
	instances, database, broker, redis, load time.Duration // CPU
}

func (s *site) sample(services []*service, pushed *atomic.Int64) sample {
	x := sample{
		at:     time.Now(),
		pushed: pushed.Load(),
		redis:  cpu(s.redis.Process.Pid),
		broker: cpu(s.brokerPid),
		load:   cpu(os.Getpid()),
	}
	for _, sv := range services {
		n, _ := sv.stored() // 0 when it does not answer, which shows
		x.stored += n
		x.instances += cpu(sv.cmd.Process.Pid)
	}
	for _, pid := range s.cluster.Pids() {
		x.database += cpu(pid)
	}
	return x
}

// cpu returns the processor time of a process and its ended children; zero without /proc.
func cpu(pid int) (d time.Duration) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// in hundredths of a second
	for _, field := range bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])[11:15] {
		ticks, _ := strconv.Atoi(string(field))
		d += time.Duration(ticks) * 10 * time.Millisecond
	}
	return d
}

// listen opens sockets at the instances in turn and counts their readings.
func listen(
	ctx context.Context, services []*service, gateways int, pushed *atomic.Int64,
) (hangUp func(), err error) {
	token, err := services[0].login()
	if err != nil {
		return nil, err
	}
	var conns []*websocket.Conn
	hangUp = func() {
		for _, ws := range conns {
			ws.Close()
		}
	}
	for i := range liveSockets {
		ws, _, err := services[i%len(services)].live(ctx, token)
		if err != nil {
			hangUp()
			return nil, err
		}
		conns = append(conns, ws)
		topic := "gateways/" + strconv.Itoa(i%gateways+1)
		subscribe := map[string]any{"type": "subscribe", "topics": []string{topic}}
		if err := ws.WriteJSON(subscribe); err != nil {
			hangUp()
			return nil, err
		}
		for range 2 { // authenticated, subscribed
			if _, _, err := ws.ReadMessage(); err != nil {
				hangUp()
				return nil, err
			}
		}
		go countReadings(ws, pushed)
	}
	return hangUp, nil
}
