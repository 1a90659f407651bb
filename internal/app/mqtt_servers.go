package app

import (
	"net"

	"github.com/oei-ms/oei-ms/internal/broker"
	"github.com/oei-ms/oei-ms/internal/mqttsource"
	"github.com/oei-ms/oei-ms/server"
)

// Names of MQTT servers in asyncapi.yaml.
const (
	mqttServer          = "mqtt"
	mqttTLSServer       = "mqttTLS"
	mqttWebSocketServer = "mqttWebSocket"
)

// externalMQTT returns the address of the external broker, as this server reaches it.
func externalMQTT(cfg mqttsource.Config) []server.MQTTServer {
	s := server.MQTTServer{
		Name:     mqttServer,
		Protocol: "mqtt",
		Host:     cfg.Host,
		Port:     cfg.Port,
	}
	if cfg.TLS {
		s.Name, s.Protocol = mqttTLSServer, "secure-mqtt"
	}
	return []server.MQTTServer{s}
}

// embeddedMQTT returns the addresses of the embedded broker.
func embeddedMQTT(ls broker.Listeners, hasCertificate bool) []server.MQTTServer {
	overWebSocket := "ws"
	if hasCertificate {
		overWebSocket = "wss"
	}
	var servers []server.MQTTServer
	for _, l := range []struct {
		net.Listener
		name, protocol string
	}{
		{ls.Plain, mqttServer, "mqtt"},
		{ls.TLS, mqttTLSServer, "secure-mqtt"},
		{ls.WebSocket, mqttWebSocketServer, overWebSocket},
	} {
		if l.Listener == nil {
			continue
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			servers = append(servers,
				server.MQTTServer{Name: l.name, Protocol: l.protocol, Port: tcp.Port})
		}
	}
	return servers
}
