// Command gateway keeps its readings on disk until the server has stored them.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue/file"
	"github.com/eclipse/paho.golang/paho"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	key, broker := os.Getenv("GATEWAY"), must(url.Parse(os.Getenv("MQTT_URL")))
	receipts := paho.SubscribeOptions{Topic: "gateways/" + key + "/receipts", QoS: 1}
	buffer := must(file.New(os.Getenv("BUFFER"), "reading", ".json")) // a file for each message
	config := autopaho.ClientConfig{ServerUrls: []*url.URL{broker}, KeepAlive: 30}
	config.ClientID, config.ConnectUsername = key, key
	config.ConnectPassword = []byte(os.Getenv("SECRET"))
	config.OnConnectionUp = func(c *autopaho.ConnectionManager, _ *paho.Connack) {
		_, _ = c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{receipts}})
	}
	config.OnPublishReceived = []func(paho.PublishReceived) (bool, error){
		func(m paho.PublishReceived) (bool, error) {
			_, err := fmt.Printf("receipt: %s\n", m.Packet.Payload)
			return true, err
		},
	}
	connection := must(autopaho.NewConnection(ctx, config)) // connects again and again
	go measure(buffer)
	for connection.AwaitConnection(ctx) == nil {
		<-buffer.Wait()
		entry, err := buffer.Peek()
		if err != nil {
			continue // it was the last one
		}
		publish := &paho.Publish{Topic: "gateways/" + key + "/data", QoS: 1}
		publish.Properties = &paho.PublishProperties{ResponseTopic: receipts.Topic}
		publish.Payload = must(io.ReadAll(must(entry.Reader())))
		if answer, err := connection.Publish(ctx, publish); answer == nil {
			log.Println("not stored yet:", err, entry.Leave())
			continue
		}
		must(0, entry.Remove()) // the PUBACK comes after the COMMIT
	}
}

func measure(buffer *file.Queue) {
	for at := range time.Tick(time.Second) {
		reading := fmt.Sprintf(`[{"sensor": %q, "value": %.2f, "timestamp": %q}]`,
			os.Getenv("SENSOR"), 20+rand.Float64(), at.Format(time.RFC3339Nano))
		must(0, buffer.Enqueue(bytes.NewBufferString(reading)))
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
