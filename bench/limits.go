package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oei-ms/oei-ms/internal/loopback"
	"github.com/oei-ms/oei-ms/internal/postgres"
)

// copyLimit measures PostgreSQL itself: psql's \copy of the same rows into the same table.
func copyLimit(ctx context.Context, dir string, s *service, db *sql.DB, o options) error {
	const rows = 2_000_000
	file := filepath.Join(dir, "rows")
	if err := writeRows(file, rows, o.gateways*o.points); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `CHECKPOINT`); err != nil {
		return err
	}
	begin := time.Now()
	cmd := exec.CommandContext(ctx, "psql", "-qX", "-v", "ON_ERROR_STOP=1",
		"-c",
		`\copy sensor_data (sensor_id, timestamp, value, status_code, quality) FROM '`+file+`'`,
		psqlDSN(postgres.RunningDSN(s.dir+"/postgres")))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, out)
	}
	fmt.Printf("%-44s %10s %10.0f\n", `psql \copy of such rows (the limit)`, "",
		rows/time.Since(begin).Seconds())
	return nil
}

// psqlDSN removes from a DSN the parameter that only lib/pq knows.
func psqlDSN(dsn string) string { return strings.ReplaceAll(dsn, "binary_parameters=yes", "") }

func writeRows(name string, rows, sensors int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	at := time.Now().UTC().Truncate(24 * time.Hour).Add(20 * time.Hour)
	for i := range rows {
		if i%sensors == 0 {
			at = at.Add(time.Millisecond)
		}
		fmt.Fprintf(w, "%d\t%s\t21.5\t\\N\t0\n", i%sensors+1, at.Format(stampLayout))
	}
	return errors.Join(w.Flush(), f.Close())
}

// relayPeer measures a Mosquitto that relays the same messages to a subscriber at QoS 1 that stores
// nothing.
func relayPeer(ctx context.Context, dir string, o options, keys []string) error {
	addr, _, stop, err := startMosquitto(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	var received atomic.Int64
	sub, err := dialMQTT(addr, "subscriber", secret, 5000)
	if err != nil {
		return err
	}
	defer sub.Close()
	go func() { _ = relay(sub, &received) }() // ends with the connection
	f := &fleet{addrs: []string{addr}, o: o, points: 1}
	half := make(chan int64, 1)
	time.AfterFunc(o.duration/2, func() { half <- received.Load() })
	end := make(chan int64, 1)
	time.AfterFunc(o.duration, func() { end <- received.Load() })
	secrets := make([]string, len(keys))
	if err := f.run(ctx, keys, secrets); err != nil {
		return err
	}
	relayed := float64(<-end-<-half) / (o.duration / 2).Seconds()
	fmt.Printf("%-44s %10.0f %10s   (its publishers were acknowledged %.0f/s)\n",
		"Mosquitto to a subscriber that stores nothing",
		relayed, "", float64(f.inTime)/o.duration.Seconds())
	return nil
}

// external measures the service with a Mosquitto as its external broker.
func external(ctx context.Context, dir string, o options) (err error) {
	addr, _, stop, err := startMosquitto(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	host, port, _ := net.SplitHostPort(addr)
	s, err := startService(ctx, dir, "DATA_DIR="+filepath.Join(dir, "external"), "MQTT_HOST="+host,
		"MQTT_PORT="+port)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	db, err := sql.Open("postgres", postgres.RunningDSN(filepath.Join(dir, "external", "postgres")))
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := register(ctx, db, o)
	if err != nil {
		return err
	}
	stored := make(chan int64, 2)
	count := func() {
		n, _ := s.stored() // 0 when it does not answer, which shows
		stored <- n
	}
	time.AfterFunc(o.duration/2, count)
	time.AfterFunc(o.duration, count)
	f := &fleet{addrs: []string{addr}, o: o, points: 1}
	used := s.usage()
	if err := f.run(ctx, keys, make([]string, len(keys))); err != nil {
		return err
	}
	half := <-stored
	rate := float64(<-stored-half) / (o.duration / 2).Seconds()
	end := s.usage()
	fmt.Printf("%-44s %10.0f %10.0f   (its publishers were acknowledged %.0f/s) %d MiB, %.1f s "+
		"CPU\n", "Mosquitto to the service, stored",
		rate, rate, float64(f.inTime)/o.duration.Seconds(), end.peak>>20,
		(end.service - used.service).Seconds())
	return nil
}

// relay subscribes to everything and acknowledges all received messages in one write.
func relay(conn net.Conn, received *atomic.Int64) error {
	filter := "sensors/#"
	body := []byte{0, 1, 0} // packet id, no properties
	body = append(append(binary.BigEndian.AppendUint16(body, uint16(len(filter))), filter...), 1)
	if _, err := conn.Write(append(binary.AppendUvarint([]byte{0x82}, uint64(len(body))),
		body...)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, 256<<10)
	var acks []byte
	for {
		kind, body, err := readPacket(in)
		if err != nil {
			return err
		}
		if kind>>4 == 3 && kind&6 == 2 {
			topic := binary.BigEndian.Uint16(body)
			acks = append(acks, 0x40, 2, body[2+topic], body[3+topic])
			received.Add(1)
		}
		if in.Buffered() == 0 && len(acks) > 0 {
			if _, err := conn.Write(acks); err != nil {
				return err
			}
			acks = acks[:0]
		}
	}
}

// startMosquitto starts a broker that queues all messages.
func startMosquitto(
	ctx context.Context, dir string,
) (addr string, pid int, stop func(), err error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	number, err := loopback.FreePort()
	if err != nil {
		return "", 0, nil, err
	}
	port := strconv.Itoa(number)
	addr = net.JoinHostPort("127.0.0.1", port)
	conf := filepath.Join(dir, "mosquitto.conf")
	text := "listener " + port +
		" 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages " +
		"0\nset_tcp_nodelay true\nlog_type error\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return "", 0, nil, err
	}
	cmd := exec.CommandContext(ctx, path, "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", 0, nil, fmt.Errorf("mosquitto: %w (./task setup installs it)", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr, cmd.Process.Pid, stop, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", 0, nil, errors.New("mosquitto does not answer")
}
