"""Views."""

import json

from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Order
from .tasks import confirm


def health(_request):
    return JsonResponse({"status": "ok"})


@csrf_exempt
def orders(request):
    """Lists the orders, or adds one and asks the worker to confirm it."""
    if request.method == "POST":
        order = Order.objects.create(item=json.loads(request.body)["item"])
        confirm.delay(order.pk)
        return JsonResponse({"id": order.pk}, status=201)
    return JsonResponse({"orders": list(Order.objects.values("id", "item", "is_confirmed"))})
