"""A gateway that keeps its readings on disk until the server has stored them."""

import json
import os
import sqlite3
import time
from datetime import datetime, timezone

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

key, sensor = os.environ["GATEWAY"], os.environ["SENSOR"]
buffer = sqlite3.connect(os.environ.get("BUFFER", "readings.db"), isolation_level=None)
buffer.execute("CREATE TABLE IF NOT EXISTS readings (id INTEGER PRIMARY KEY, reading TEXT)")

receipts = f"gateways/{key}/receipts"  # where the server says what became of each reading
asks = Properties(PacketTypes.PUBLISH)
asks.ResponseTopic = receipts
paho2 = [mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []
client = mqtt.Client(*paho2, client_id=key, protocol=mqtt.MQTTv5)
client.username_pw_set(key, os.environ["SECRET"])
client.will_set(f"gateways/{key}/status", '{"status": "offline"}', qos=1)
client.on_connect = lambda client, *_: client.subscribe(receipts, qos=1)
client.on_message = lambda *args: print("receipt:", args[2].payload.decode(), flush=True)
host, port = os.environ.get("MQTT_HOST", "localhost"), os.environ.get("MQTT_PORT", "1883")
client.connect_async(host, int(port))
client.loop_start()  # connects in the background, again and again

while True:
    now = datetime.now(timezone.utc).isoformat()  # of the measurement, not of the sending
    reading = json.dumps({"timestamp": now, "value": os.getloadavg()[0]})
    buffer.execute("INSERT INTO readings (reading) VALUES (?)", [reading])
    rows = buffer.execute("SELECT id, reading FROM readings ORDER BY id LIMIT 500").fetchall()
    payload = "[" + ",".join(reading for _, reading in rows) + "]"
    if client.is_connected():
        sent = client.publish(f"sensors/{key}/{sensor}/data", payload, qos=1, properties=asks)
        if sent.rc == mqtt.MQTT_ERR_SUCCESS:
            sent.wait_for_publish(10)
            if sent.is_published():  # the PUBACK comes after the COMMIT
                buffer.execute("DELETE FROM readings WHERE id <= ?", [rows[-1][0]])
    time.sleep(1)
