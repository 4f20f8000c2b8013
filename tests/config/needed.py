"""The settings without which no process starts."""

NEEDED = {
    "DATABASE_URL": "postgresql://db.example/darkroom",
    "REDIS_URL": "redis://redis.example",
    "DARKROOM_SECRET": "sixteen letters!",
}
